#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tulle/sparse/topology.h"

namespace tulle {

/// A pattern and one value for each of its connections.
struct LayerWeights {
  Topology topology;
  std::vector<float> values;
};

/// The mean of several layers of one shape on the union of their patterns; what one does not have counts as
/// 0. The mean of equal replicas is what they are, bit for bit. Cost: O(all nnz * log of their number).
LayerWeights average(std::span<const LayerWeights> replicas);
/// The same for arrays of one length.
std::vector<float> average(std::span<const std::vector<float>> replicas);

/// Without the weakest connections, down to `connections`. `published`: as the code published with arXiv
/// 2102.01732 does it, by the thresholds of rule set-published at the share to go, which may leave up to 3
/// fewer; otherwise by magnitude, ties by place, exactly as many.
LayerWeights resparsified(const LayerWeights& weights, std::int64_t connections, bool published);

}  // namespace tulle
