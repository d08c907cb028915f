#pragma once

#include <memory>

#include "tulle/base/parallel.h"
#include "tulle/nn/activation.h"

namespace tulle {

/// An activation without parameters, from a type with `template <class T> static T value(T z)` and `slope(T
/// z)`.
template <class F>
class Elementwise final : public Activation {
 public:
  void forward(Panels<const float> z, Panels<float> a) const override {
    parallel_ranges(z.count() * z.panel_size(), 16, [&](Range range) {
      for (std::int64_t i = range.begin; i < range.end; ++i) a.data[i] = F::value(z.data[i]);
    });
  }
  void backward(Panels<const float> z, Panels<float> grad) override {
    parallel_ranges(z.count() * z.panel_size(), 16, [&](Range range) {
      for (std::int64_t i = range.begin; i < range.end; ++i) grad.data[i] *= F::slope(z.data[i]);
    });
  }
  double value(double z, std::int32_t) const override { return F::value(z); }
  double slope(double z, std::int32_t) const override { return F::slope(z); }
};

}  // namespace tulle
