#include <cmath>
#include <numbers>

#include "tulle/nn/elementwise.h"

namespace tulle {
namespace {

// Gaussian error linear unit, Hendrycks and Gimpel 2016 (arXiv 1606.08415).
struct Gelu {
  template <class T>
  static T distribution(T z) {
    return T(0.5) * (T(1) + std::erf(z * T(1 / std::numbers::sqrt2)));
  }
  template <class T>
  static T value(T z) {
    return z * distribution(z);
  }
  template <class T>
  static T slope(T z) {
    const T density = std::exp(T(-0.5) * z * z) * T(std::numbers::inv_sqrtpi / std::numbers::sqrt2);
    return distribution(z) + z * density;
  }
};

struct GeluTanh {
  template <class T>
  static T tanh_part(T z) {
    return std::tanh(T(std::numbers::inv_sqrtpi * std::numbers::sqrt2) * (z + T(0.044715) * z * z * z));
  }
  template <class T>
  static T value(T z) {
    return T(0.5) * z * (T(1) + tanh_part(z));
  }
  template <class T>
  static T slope(T z) {
    const T t = tanh_part(z);
    const T inner = T(std::numbers::inv_sqrtpi * std::numbers::sqrt2) * (T(1) + T(3 * 0.044715) * z * z);
    return T(0.5) * (T(1) + t) + T(0.5) * z * (T(1) - t * t) * inner;
  }
};

}  // namespace

std::unique_ptr<Activation> make_gelu(const ActivationOptions&) {
  return std::make_unique<Elementwise<Gelu>>();
}
std::unique_ptr<Activation> make_gelu_tanh(const ActivationOptions&) {
  return std::make_unique<Elementwise<GeluTanh>>();
}

}  // namespace tulle
