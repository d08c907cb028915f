#pragma once

#include <cstddef>
#include <cstdint>

#include "tulle/recover/sparse_weights.h"

namespace tulle {

/// How near a found layer is to the one that made the data, neurons matched so that the sum of squared
/// differences of their weights is smallest. Neurons of one sign whose weights are positive multiples of each
/// other count as one: they are the same function as their sum.
struct LayerMatch {
  std::int64_t planted = 0, found = 0, common = 0;  // nonzeros, those at the same place of matched neurons
  double weight_error = 0.0;                        // ||found - planted|| / ||planted||

  double precision() const {
    return found == 0 ? 0.0 : static_cast<double>(common) / static_cast<double>(found);
  }
  double recall() const {
    return planted == 0 ? 0.0 : static_cast<double>(common) / static_cast<double>(planted);
  }
  double f1() const {
    return planted + found == 0 ? 0.0
                                : 2.0 * static_cast<double>(common) / static_cast<double>(planted + found);
  }
  /// Support and weights are the planted ones.
  bool exact() const { return common == planted && common == found && weight_error < 1e-3; }
};

/// More neurons than this take minutes and gigabytes to match.
inline constexpr std::size_t kMostMatched = 1000;

/// Cost: O(n^3 + n^2 * nonzeros of a neuron) for n present neurons, by the Hungarian method (Kuhn 1955);
/// memory: 8 n^2 bytes.
LayerMatch match_layers(const SparseWeights& found, const SparseWeights& planted);

}  // namespace tulle
