#include <cmath>

#include "tulle/nn/elementwise.h"

namespace tulle {
namespace {

struct Sigmoid {
  template <class T>
  static T value(T z) {
    const T e = std::exp(-std::abs(z));  // never overflows
    return z >= T(0) ? T(1) / (T(1) + e) : e / (T(1) + e);
  }
  template <class T>
  static T slope(T z) {
    const T a = value(z);
    return a * (T(1) - a);
  }
};

}  // namespace

std::unique_ptr<Activation> make_sigmoid(const ActivationOptions&) {
  return std::make_unique<Elementwise<Sigmoid>>();
}

}  // namespace tulle
