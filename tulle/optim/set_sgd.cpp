#include "tulle/nn/bf16_weights.h"
#include "tulle/optim/optimizer.h"

namespace tulle {
namespace {

// v <- mu v - eta g;  theta <- theta + v - lambda theta_old, biases included; lambda is not multiplied by
// eta. With Nesterov theta <- theta + mu v - eta g - lambda theta_old. Source: code published with arXiv
// 2102.01732.
class SetSgd final : public Optimizer {
 public:
  explicit SetSgd(const OptimizerOptions& options)
      : momentum_(static_cast<float>(options.momentum)),
        decay_(static_cast<float>(options.weight_decay)),
        nesterov_(options.nesterov) {}

  // Without momentum a velocity is the last step alone: nobody needs to keep it.
  void prepare(Parameter& parameter) const override {
    if (momentum_ > 0.0f) keep_momentum(parameter);
  }

  using Optimizer::step;
  void step(const ParameterSlice& slice, float rate) const override {
    const float shrinking = slice.kind == Parameter::Kind::kActivation ? 0.0f : decay_;
    // Locals that no store can change, so that the loop is done in vectors.
    float* __restrict value = slice.value;
    float* __restrict velocity = slice.m1;
    const float* __restrict gradient = slice.gradient;
    const float momentum = momentum_;
    const bool nesterov = nesterov_;
    if (velocity == nullptr) {
      for (std::int64_t i = 0; i < slice.size; ++i) value[i] += -rate * gradient[i] - shrinking * value[i];
      return;
    }
    for (std::int64_t i = 0; i < slice.size; ++i) {
      velocity[i] = momentum * velocity[i] - rate * gradient[i];
      const float move = nesterov ? momentum * velocity[i] - rate * gradient[i] : velocity[i];
      value[i] += move - shrinking * value[i];
    }
  }

  void pending(const Parameter& parameter, float, std::span<float> added) const override {
    for (std::size_t i = 0; i < added.size(); ++i)
      added[i] = parameter.m1.empty() ? 0.0f : momentum_ * parameter.m1[i];
  }

 private:
  float momentum_, decay_;
  bool nesterov_;
};

}  // namespace

std::unique_ptr<Optimizer> make_set_sgd(const OptimizerOptions& options) {
  return std::make_unique<SetSgd>(options);
}

}  // namespace tulle
