#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "tulle/base/panels.h"
#include "tulle/nn/parameter.h"

namespace tulle {

/// f(z) = z on the positive side, slope * z on the negative: runs fused inside the product kernels.
struct PiecewiseLinear {
  float slope = 1.0f;
  bool zero_is_negative = false;  // which side z = 0 belongs to, for the derivative
};

/// The function between a layer's sums and its outputs.
class Activation {
 public:
  virtual ~Activation() = default;

  /// Set for piecewise linear functions, whose forward() and backward() are then never called.
  virtual std::optional<PiecewiseLinear> piecewise() const { return std::nullopt; }

  /// a = f(z). Shapes: both [panel][neuron][width]; may be the same memory.
  virtual void forward(Panels<const float> z, Panels<float> a) const = 0;
  /// grad: dL/da on entry, dL/dz on return; gradients of own parameters are overwritten.
  virtual void backward(Panels<const float> z, Panels<float> grad) = 0;

  /// Trained parameters, if any.
  virtual std::vector<Parameter*> parameters() { return {}; }

  /// f and f' of neuron `neuron` in double precision: the definition, for tests and for start values of
  /// weights.
  virtual double value(double z, std::int32_t neuron) const = 0;
  virtual double slope(double z, std::int32_t neuron) const = 0;
};

/// What an activation may depend on when it is made.
struct ActivationOptions {
  double alpha = 0.6;         // slope of all-relu and leaky-relu
  std::int32_t position = 2;  // layer number counted from the input as 1: the first hidden layer is 2
  std::int32_t neurons = 0;
  std::uint64_t seed = 0;  // start values of trained parameters
};

using MakeActivation = std::unique_ptr<Activation>(const ActivationOptions&);

struct ActivationInfo {
  std::string_view name;
  std::string_view help;
  MakeActivation* make;
  std::string_view source{};
};

std::span<const ActivationInfo> activations();

/// E[f(x)^2] for x ~ N(0, 1), by quadrature.
double second_moment(const Activation& activation);

/// A piecewise linear activation; all of its arithmetic is in kernels/neuron.h.
std::unique_ptr<Activation> make_piecewise(PiecewiseLinear form);

}  // namespace tulle
