#pragma once

#include <cstdint>
#include <vector>

#include "tulle/base/random.h"
#include "tulle/sparse/row_share.h"
#include "tulle/sparse/topology.h"

namespace tulle {

/// A law by which most connections of a target come from sources near its place, so that what these make
/// stays in caches: of the connections that are drawn, `share` lie within windows and the rest anywhere. The
/// window of target i is `width` sources, at most all, around floor(i * sources / targets) on a ring. The
/// same law at the start and whenever connections grow; docs/scale.md has what to choose.
struct WindowLaw {
  std::int64_t width = 0;  // 0: no windows
  double share = 0.9;
};

/// The first source of a target's window.
std::int32_t window_start(const WindowLaw& law, std::int32_t rows, std::int32_t cols, std::int32_t row);

/// `count` cells that `topology` lacks, as sorted keys, all of them if there are fewer: round(share * count)
/// uniformly drawn from the windows without replacement, as far as there are so many, then the rest from all
/// cells. Cost: as random_absent_cells(), and one walk over the connections. The same for any number of
/// threads.
std::vector<std::uint64_t> windowed_absent_cells(const Topology& topology, std::int64_t count,
                                                 const WindowLaw& law, const Random& key,
                                                 const RowShare& share = {});

/// Exactly m connections by that law. Cost: O(m) time and memory. Throws std::invalid_argument if m exceeds
/// the cells.
Topology windowed_topology(std::int32_t rows, std::int32_t cols, std::int64_t m, const WindowLaw& law,
                           const Random& key);

}  // namespace tulle
