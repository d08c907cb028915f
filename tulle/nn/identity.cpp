#include "tulle/nn/activation.h"

namespace tulle {

std::unique_ptr<Activation> make_identity(const ActivationOptions&) {
  return make_piecewise({.slope = 1.0f});
}

}  // namespace tulle
