#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>
#include <span>
#include <vector>

#include "tulle/base/aligned.h"
#include "tulle/base/checked_size.h"
#include "tulle/data/dataset.h"
#include "tulle/kernels/gated.h"

namespace tulle {

/// Inputs of recovery: dense, feature by feature, because supports pick features. Column c is column(c)[0 ..
/// padded()); entries from count() on are 0, which closes every gate there. Columns lie stride() apart, an
/// odd number of cache lines: the same rows of all columns would else fall into a few sets of a cache (an
/// image of 128 x 128 pixels in colour has 192 KiB columns).
class Samples {
 public:
  Samples() = default;
  /// All zero. Memory: 4 * features * stride bytes. Throws std::bad_alloc.
  Samples(std::int64_t count, std::int32_t features)
      : count_(count),
        padded_((count + kernels::kGateRows - 1) / kernels::kGateRows * kernels::kGateRows),
        stride_((padded_ / kLine | 1) * kLine),
        features_(features),
        values_(size_of(stride_, features)) {}

  std::int64_t count() const { return count_; }
  std::int64_t padded() const { return padded_; }
  std::int64_t stride() const { return stride_; }
  std::int32_t features() const { return features_; }
  float* column(std::int64_t feature) { return values_.data() + feature * stride_; }
  const float* column(std::int64_t feature) const { return values_.data() + feature * stride_; }
  const float* data() const { return values_.data(); }

 private:
  static constexpr std::int64_t kLine = 16;  // floats

  // More than can be addressed is more than there is.
  static std::size_t size_of(std::int64_t stride, std::int32_t features) {
    const std::uint64_t values =
        checked_multiply(static_cast<std::uint64_t>(stride), static_cast<std::uint64_t>(features));
    if (values > std::numeric_limits<std::ptrdiff_t>::max() / sizeof(float)) throw std::bad_alloc();
    return values;
  }

  std::int64_t count_ = 0, padded_ = 0, stride_ = 0;
  std::int32_t features_ = 0;
  AlignedVector<float> values_;
};

/// Dense inputs, scaled, and a last feature of ones if `bias`.
/// Throws std::invalid_argument for sparse inputs. Cost: O(samples * features), in parallel.
Samples to_samples(const Features& inputs, const Scaling& scaling, bool bias);

/// The samples `rows`, in that order. Cost: O(rows * features), in parallel.
Samples select_samples(const Samples& all, std::span<const std::uint32_t> rows);

}  // namespace tulle
