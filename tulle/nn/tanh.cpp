#include <cmath>

#include "tulle/nn/elementwise.h"

namespace tulle {
namespace {

struct Tanh {
  template <class T>
  static T value(T z) {
    return std::tanh(z);
  }
  template <class T>
  static T slope(T z) {
    const T a = std::tanh(z);
    return T(1) - a * a;
  }
};

}  // namespace

std::unique_ptr<Activation> make_tanh(const ActivationOptions&) {
  return std::make_unique<Elementwise<Tanh>>();
}

}  // namespace tulle
