#include <utility>

#include "tulle/nn/outputwise.h"

namespace tulle {

// The published form: the gradient is the plain difference, without the factor 2 of the derivative (unless
// mse_factor says so) and without division by the number of outputs; the reported value is the mean over all
// entries.
LossResult squared_error(Panels<const float> z, const Targets& targets, const LossOptions& options,
                         Panels<float> gradient) {
  const auto factor = static_cast<float>(options.mse_factor);
  return sum_over_outputs(z, targets, options, 1.0 / z.features, gradient, [factor](float x, float wanted) {
    const float difference = x - wanted;
    return std::pair<double, float>(static_cast<double>(difference) * difference, factor * difference);
  });
}

}  // namespace tulle
