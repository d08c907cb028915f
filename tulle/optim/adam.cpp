#include <cmath>
#include <limits>
#include <vector>

#include "tulle/kernels/adam.h"
#include "tulle/optim/optimizer.h"

namespace tulle {
namespace {

constexpr std::uint16_t kOldest = std::numeric_limits<std::uint16_t>::max();

// m <- b1 m + (1-b1) g';  s <- b2 s + (1-b2) g'^2;  theta <- theta - eta mhat / (sqrt(shat) + e), with g' = g
// + lambda theta in adam and g' = g in adamw, which subtracts eta lambda theta_old instead. The bias
// correction counts the steps of each connection since its birth: with one count for all, the first step of a
// grown connection would be (1-b1)/sqrt(1-b2), about 3, times too large. 16 bits suffice: at the last count
// the correction differs from 1 by less than 1e-28.
class Adam final : public Optimizer {
 public:
  Adam(const OptimizerOptions& options, bool decoupled)
      : beta1_(static_cast<float>(options.beta1)),
        beta2_(static_cast<float>(options.beta2)),
        epsilon_(static_cast<float>(options.adam_epsilon)),
        decay_(static_cast<float>(options.weight_decay)),
        decoupled_(decoupled),
        correction1_(corrections(beta1_)),
        correction2_(corrections(beta2_)) {}

  void prepare(Parameter& parameter) const override {
    parameter.m1.resize(parameter.value.size(), 0.0f);
    parameter.m2.resize(parameter.value.size(), 0.0f);
    parameter.age.resize(parameter.value.size(), 0);
  }

  using Optimizer::step;
  void step(const ParameterSlice& slice, float rate) const override {
    const float decay = slice.kind == Parameter::Kind::kWeight ? decay_ : 0.0f;
    kernels::adam_step({.beta1 = beta1_,
                        .beta2 = beta2_,
                        .epsilon = epsilon_,
                        .rate = rate,
                        .coupled = decoupled_ ? 0.0f : decay,
                        .shrink = decoupled_ ? rate * decay : 0.0f,
                        .correction1 = correction1_.data(),
                        .correction2 = correction2_.data()},
                       slice.size, slice.gradient, slice.value, slice.m1, slice.m2, slice.age);
  }

  void pending(const Parameter& parameter, float rate, std::span<float> added) const override {
    for (std::size_t i = 0; i < added.size(); ++i) {
      const std::uint16_t age = parameter.age[i];
      const float m = beta1_ * parameter.m1[i] * correction1_[age];
      added[i] = -rate * m / (std::sqrt(parameter.m2[i] * correction2_[age]) + epsilon_);
    }
  }

 private:
  // 1 / (1 - beta^age) for every age. beta is the rounded one the moments use: 1 - 0.999f is 1.3e-5 off
  // 0.001, which must cancel.
  static std::vector<float> corrections(double beta) {
    std::vector<float> table(static_cast<std::size_t>(kOldest) + 1, 1.0f);
    double power = 1.0;
    for (std::size_t age = 1; age < table.size(); ++age) {
      power *= beta;
      table[age] = static_cast<float>(1.0 / (1.0 - power));
    }
    return table;
  }

  float beta1_, beta2_, epsilon_, decay_;
  bool decoupled_;
  std::vector<float> correction1_, correction2_;
};

}  // namespace

std::unique_ptr<Optimizer> make_adam(const OptimizerOptions& options) {
  return std::make_unique<Adam>(options, false);
}
std::unique_ptr<Optimizer> make_adamw(const OptimizerOptions& options) {
  return std::make_unique<Adam>(options, true);
}

}  // namespace tulle
