#include "tulle/nn/activation.h"

namespace tulle {

std::unique_ptr<Activation> make_leaky_relu(const ActivationOptions& options) {
  return make_piecewise({.slope = static_cast<float>(options.alpha)});
}

}  // namespace tulle
