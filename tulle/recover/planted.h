#pragma once

#include <cstdint>
#include <vector>

#include "tulle/recover/samples.h"
#include "tulle/recover/sparse_weights.h"

namespace tulle {

/// A hidden sparse net and data that it made, as in arXiv 2509.20323: `nnz` places drawn
/// without replacement, values N(0, 1), output signs +1, or +1 and -1 with equal odds if `mixed`.
SparseWeights planted_weights(std::int64_t neurons, std::int32_t features, std::int64_t nnz, bool mixed,
                              std::uint64_t seed, std::uint32_t layer = 0);

/// X ~ N(0, 1). `part` 0: for recovery, 1: fresh samples of the same law.
Samples planted_samples(std::int64_t count, std::int32_t features, std::uint64_t seed, std::uint32_t part);

}  // namespace tulle
