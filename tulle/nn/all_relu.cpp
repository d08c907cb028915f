#include "tulle/nn/activation.h"

namespace tulle {

// Alternated Left ReLU, Curci et al. 2021 (arXiv 2102.01732): the slope below 0 is -alpha in even layers (the
// first hidden layer is number 2) and +alpha in odd ones. The derivative at 0 is 1.
std::unique_ptr<Activation> make_all_relu(const ActivationOptions& options) {
  const auto alpha = static_cast<float>(options.alpha);
  return make_piecewise({.slope = options.position % 2 == 0 ? -alpha : alpha});
}

}  // namespace tulle
