#include "tulle/nn/activation.h"

namespace tulle {

std::unique_ptr<Activation> make_relu(const ActivationOptions&) {
  return make_piecewise({.slope = 0.0f, .zero_is_negative = true});  // the derivative at 0 is 0
}

}  // namespace tulle
