#include <algorithm>
#include <cmath>
#include <utility>

#include "tulle/nn/outputwise.h"

namespace tulle {

LossResult binary_cross_entropy(Panels<const float> z, const Targets& targets, const LossOptions& options,
                                Panels<float> gradient) {
  return sum_over_outputs(z, targets, options, 1.0, gradient, [](float x, float wanted) {
    const float e = std::exp(-std::abs(x));  // the stable form: no exponential of a positive number
    const float probability = x >= 0.0f ? 1.0f / (1.0f + e) : e / (1.0f + e);
    const double loss =
        std::max(x, 0.0f) - static_cast<double>(x) * wanted + std::log1p(static_cast<double>(e));
    return std::pair<double, float>(loss, probability - wanted);
  });
}

}  // namespace tulle
