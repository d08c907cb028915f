#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tulle/sparse/topology.h"

namespace tulle {

/// Values of the connections of `from`, cell by cell for those of `to`; 0 where `from` has none. A cell that
/// was dropped and grew again keeps its value. Both are of the same shape. Cost: O(rows + both nnz).
/// Source: RetainValidUpdates of arXiv 2102.01732, algorithm 1.
std::vector<float> retain_valid(const Topology& from, std::span<const float> values, const Topology& to);

/// What tells a holder of `from` how `to` looks: one bit for each connection of `from`, and the cells that
/// are new, as differences of their keys in as many groups of 7 bits as they need. About half a byte for each
/// connection of an event that replaces 30 %. Cost: O(rows + both nnz).
std::vector<std::byte> pattern_change(const Topology& from, const Topology& to);

/// `to` from `from`. Throws std::invalid_argument if `change` is not of a pattern like `from`.
Topology changed_pattern(const Topology& from, std::span<const std::byte> change);

}  // namespace tulle
