#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tulle {

/// A batch of samples that hold only what is there, by sample and again by feature, for the features that
/// occur. What a first layer multiplies sparse by sparse.
struct SparseBatch {
  std::int32_t features = 0;
  std::int32_t batch = 0;
  std::int32_t width = 16;  // of the panels that the outputs go into
  // Sample b has the entries [sample_ptr[b], sample_ptr[b + 1]): `place`, a number into `active`, and value.
  std::vector<std::int64_t> sample_ptr{0};
  std::vector<std::int32_t> places;
  std::vector<float> values;
  // Feature active[i], ascending, has the entries [active_ptr[i], active_ptr[i + 1]): sample and value.
  std::vector<std::int32_t> active;
  std::vector<std::int64_t> active_ptr{0};
  std::vector<std::int32_t> samples;
  std::vector<float> sample_values;

  /// Starts a batch of so many samples; add() its samples in order, then finish().
  void start(std::int32_t features_of, std::int32_t width_of);
  /// One sample: features ascending.
  void add(std::span<const std::int32_t> columns, std::span<const float> values_of);
  /// Cost: O(entries + features).
  void finish();

 private:
  std::vector<std::int32_t> columns_;  // of `places`, until finish()
  std::vector<std::int32_t> count_;    // of each feature
};

}  // namespace tulle
