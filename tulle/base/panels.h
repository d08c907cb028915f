#pragma once

#include <cstdint>

#include "tulle/base/aligned.h"

namespace tulle {

/// A batch of activations somebody else owns, laid out [panel][feature][width]: sample b lies in panel b /
/// width, lane b % width, so one feature of one panel is `width` contiguous floats, 64-byte aligned. Lanes
/// beyond `batch` are padding; width is 16, 32, 64 or 128, or for a batch that fits in less 2, 4 or 8, where
/// every layer takes that (Network::panel_width()). T is float, or std::uint16_t for bfloat16.
template <class T>
struct Panels {
  T* data = nullptr;
  std::int32_t features = 0;
  std::int32_t batch = 0;  // true number of samples
  std::int32_t width = 16;

  explicit operator bool() const { return data != nullptr; }
  std::int32_t count() const { return (batch + width - 1) / width; }
  std::int64_t panel_size() const { return static_cast<std::int64_t>(features) * width; }
  T* panel(std::int32_t p) const { return data + p * panel_size(); }
  T& at(std::int32_t sample, std::int32_t feature) const {
    return panel(sample / width)[static_cast<std::int64_t>(feature) * width + sample % width];
  }
  operator Panels<const T>() const { return {data, features, batch, width}; }
};

/// Memory for the Panels of batches up to a capacity. Grows, never shrinks; zero at the start.
template <class T>
class PanelMemory {
 public:
  /// A view for `batch` samples of `features`; what it holds is what was there before.
  Panels<T> view(std::int32_t features, std::int32_t batch, std::int32_t width) {
    const Panels<T> shape{nullptr, features, batch, width};
    const auto size = static_cast<std::size_t>(shape.count() * shape.panel_size());
    if (memory_.size() < size) memory_.resize(size);
    return {memory_.data(), features, batch, width};
  }

 private:
  AlignedVector<T> memory_;
};
using PanelBuffer = PanelMemory<float>;
using Bf16PanelBuffer = PanelMemory<std::uint16_t>;

}  // namespace tulle
