#include <cmath>
#include <numbers>

#include "tulle/nn/activation.h"

namespace tulle {

MakeActivation make_relu, make_leaky_relu, make_all_relu, make_srelu, make_sigmoid, make_tanh, make_gelu,
    make_gelu_tanh, make_identity;

namespace {

class Piecewise final : public Activation {
 public:
  explicit Piecewise(PiecewiseLinear form) : form_(form) {}
  std::optional<PiecewiseLinear> piecewise() const override { return form_; }
  void forward(Panels<const float>, Panels<float>) const override {}
  void backward(Panels<const float>, Panels<float>) override {}
  double value(double z, std::int32_t neuron) const override { return z * slope(z, neuron); }
  double slope(double z, std::int32_t) const override {
    const bool positive = form_.zero_is_negative ? z > 0.0 : z >= 0.0;
    return positive ? 1.0 : static_cast<double>(form_.slope);
  }

 private:
  PiecewiseLinear form_;
};

// To add an activation: its file, its name above, one line here.
constexpr ActivationInfo kActivations[] = {
    {"relu", "max(z, 0)", make_relu, "Nair and Hinton 2010"},
    {"leaky-relu", "z, or alpha * z below 0", make_leaky_relu, "Maas et al. 2013"},
    {"all-relu", "z, or below 0 -alpha * z in the 1st, 3rd, ... and +alpha * z in the 2nd, ... hidden layer",
     make_all_relu, "Curci et al. 2021"},
    {"srelu", "S-shaped, four trained parameters per neuron", make_srelu, "Jin et al. 2016"},
    {"sigmoid", "1 / (1 + exp(-z))", make_sigmoid},
    {"tanh", "tanh(z)", make_tanh},
    {"gelu", "z * Phi(z), exact", make_gelu, "Hendrycks and Gimpel 2016"},
    {"gelu-tanh", "z * Phi(z), tanh form", make_gelu_tanh, "Hendrycks and Gimpel 2016"},
    {"identity", "z", make_identity},
};

}  // namespace

std::span<const ActivationInfo> activations() { return kActivations; }

std::unique_ptr<Activation> make_piecewise(PiecewiseLinear form) { return std::make_unique<Piecewise>(form); }

double second_moment(const Activation& activation) {
  constexpr int kSteps = 10240;
  constexpr double kLimit = 10.0, kStep = 2.0 * kLimit / kSteps;
  double moment = 0.0;
  for (int i = 0; i < kSteps; ++i) {
    const double x = -kLimit + (i + 0.5) * kStep;  // midpoints, so that a kink at 0 does no harm
    const double y = activation.value(x, 0);
    moment += y * y * std::exp(-0.5 * x * x) * kStep;
  }
  return moment / std::sqrt(2.0 * std::numbers::pi);
}

}  // namespace tulle
