#include "tulle/nn/bf16_weights.h"
#include "tulle/optim/optimizer.h"

namespace tulle {
namespace {

// g' = g + lambda theta (sgdw: g' = g);  v <- mu v + g';  theta <- theta - eta v, Nesterov: - eta (g' + mu
// v); sgdw then subtracts eta lambda theta_old. Biases and activation parameters do not decay.
class Sgd final : public Optimizer {
 public:
  Sgd(const OptimizerOptions& options, bool decoupled)
      : momentum_(static_cast<float>(options.momentum)),
        decay_(static_cast<float>(options.weight_decay)),
        nesterov_(options.nesterov),
        decoupled_(decoupled) {}

  // Without momentum a velocity is the last step alone: nobody needs to keep it.
  void prepare(Parameter& parameter) const override {
    if (momentum_ > 0.0f) keep_momentum(parameter);
  }

  using Optimizer::step;
  void step(const ParameterSlice& slice, float rate) const override {
    const float decay = slice.kind == Parameter::Kind::kWeight ? decay_ : 0.0f;
    // Locals that no store can change, so that the loop is done in vectors.
    float* __restrict value = slice.value;
    float* __restrict velocity = slice.m1;
    const float* __restrict gradient = slice.gradient;
    const float momentum = momentum_, l2 = decoupled_ ? 0.0f : decay,
                shrinking = decoupled_ ? rate * decay : 0.0f;
    const bool nesterov = nesterov_;
    if (velocity == nullptr) {
      for (std::int64_t i = 0; i < slice.size; ++i) {
        const float move = gradient[i] + l2 * value[i];
        value[i] -= rate * move + shrinking * value[i];
      }
      return;
    }
    for (std::int64_t i = 0; i < slice.size; ++i) {
      const float g = gradient[i] + l2 * value[i];
      velocity[i] = momentum * velocity[i] + g;
      const float move = nesterov ? g + momentum * velocity[i] : velocity[i];
      value[i] -= rate * move + shrinking * value[i];
    }
  }

  void pending(const Parameter& parameter, float rate, std::span<float> added) const override {
    for (std::size_t i = 0; i < added.size(); ++i)
      added[i] = parameter.m1.empty() ? 0.0f : -rate * momentum_ * parameter.m1[i];
  }

 private:
  float momentum_, decay_;
  bool nesterov_, decoupled_;
};

}  // namespace

std::unique_ptr<Optimizer> make_sgd(const OptimizerOptions& options) {
  return std::make_unique<Sgd>(options, false);
}
std::unique_ptr<Optimizer> make_sgdw(const OptimizerOptions& options) {
  return std::make_unique<Sgd>(options, true);
}

}  // namespace tulle
