#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "tulle/base/random.h"
#include "tulle/sparse/topology.h"

namespace tulle {

/// Where the connections of a layer lie whose number is given. The same cells for any number of threads.
struct PatternInfo {
  std::string_view name;
  std::string_view help;
  std::string_view source;
  /// Exactly m of the rows x cols cells; rewire: of watts-strogatz alone.
  Topology (*draw)(std::int32_t rows, std::int32_t cols, std::int64_t m, double rewire, const Random& key);
};

std::span<const PatternInfo> patterns();

/// Targets and sources lie on one ring; each target takes the sources nearest to it, as many as its even
/// share of m, and then each connection moves with probability `rewire` to any source that the target has
/// not. Cost: O(m log d) for d = m / rows sources a target, and O(rewire * m * d) for those that move. Throws
/// std::invalid_argument if m exceeds the cells or rewire is not 0 to 1.
/// Source: Watts and Strogatz 1998, doi:10.1038/30918, for two sets of neurons.
Topology watts_strogatz_topology(std::int32_t rows, std::int32_t cols, std::int64_t m, double rewire,
                                 const Random& key);

/// Full blocks of kBlock x kBlock cells, uniformly drawn without replacement; the last one is filled row by
/// row as far as m goes. Cost: O(m). Throws std::invalid_argument if m exceeds the cells.
inline constexpr std::int32_t kBlock = 16;
Topology block_topology(std::int32_t rows, std::int32_t cols, std::int64_t m, const Random& key);

}  // namespace tulle
