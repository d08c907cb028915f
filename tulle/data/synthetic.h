#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "tulle/data/dataset.h"

namespace tulle {

/// A task as scikit-learn's make_classification draws it, of any size, for networks whose data would not fit:
/// each class is a few Gaussian clusters in the informative features; redundant ones are sums of them; all
/// others are noise.
struct SyntheticOptions {
  std::int32_t features = 65536;
  std::int32_t classes = 2;
  std::int32_t informative = 64;
  std::int32_t redundant = 64;
  std::int32_t clusters = 2;  // of each class
  double separation = 1.0;    // of a cluster's centre from 0, in every informative feature
  double flip = 0.01;         // share of the labels that are drawn anew
  std::int64_t samples = 10000;
  std::int64_t test_samples = 2000;
  std::uint64_t seed = 1;
};

/// Samples by their number, alone: nothing is stored, and the same number is the same sample in any batch,
/// order and thread.
class SyntheticTask final : public SampleSource {
 public:
  /// Throws tulle::Error (kConfig) for fewer features than informative and redundant ones, or more clusters
  /// than 2^informative.
  explicit SyntheticTask(const SyntheticOptions& options);

  std::int32_t label(std::uint32_t sample) const;
  /// Cost: O(features + informative^2).
  void row(std::uint32_t sample, std::span<float> out) const override;

 private:
  SyntheticOptions options_;
  std::vector<float> centres_;            // [cluster of all classes][informative]
  std::vector<float> shapes_;             // [cluster][informative][informative]: x = g shape + centre
  std::vector<float> redundancy_;         // [informative][redundant]
  std::vector<std::uint32_t> positions_;  // where each feature stands
};

/// Training samples, then as many test samples as asked for; not scaled.
Dataset synthetic_dataset(const SyntheticOptions& options);

}  // namespace tulle
