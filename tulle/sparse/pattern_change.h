#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tulle/base/random.h"
#include "tulle/sparse/topology.h"
#include "tulle/sparse/window.h"

namespace tulle {

/// Values of the connections of `from`, cell by cell for those of `to`; 0 where `from` has none. A cell that
/// was dropped and grew again keeps its value. Both are of the same shape. Cost: O(rows + both nnz).
/// Source: RetainValidUpdates of arXiv 2102.01732, algorithm 1.
std::vector<float> retain_valid(const Topology& from, std::span<const float> values, const Topology& to);

/// What tells a holder of `from` how `to` looks: one bit for each connection of `from`, and the cells that
/// are new, as differences of their keys in as many groups of 7 bits as they need. About half a byte for each
/// connection of an event that replaces 30 %. Cost: O(rows + both nnz).
std::vector<std::byte> pattern_change(const Topology& from, const Topology& to);

/// How an event draws the cells that grow, from what it kept: windowed_absent_cells(kept, count, law, key).
struct CellDraw {
  WindowLaw law{};
  Random key{};
};

/// The same where `grown`, sorted keys in `to`, came by an event: if they are what `draw` gives, a bit for
/// each connection of `from` and the event, an eighth of a byte a connection; otherwise as above. Cost: that
/// of the draw besides.
std::vector<std::byte> pattern_change(const Topology& from, const Topology& to,
                                      std::span<const std::uint64_t> grown, const CellDraw& draw);

/// `to` from `from`. `draw` as it was given, but for key.event, which is told. Throws std::invalid_argument
/// if `change` is not of a pattern like `from`.
Topology changed_pattern(const Topology& from, std::span<const std::byte> change, const CellDraw& draw = {});

}  // namespace tulle
