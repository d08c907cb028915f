#pragma once

#include <cstdint>
#include <vector>

namespace tulle {

/// Cells of a layer with a number each: what a grow rule has gathered over steps about those that may become
/// connections.
struct CellScores {
  std::vector<std::uint64_t> cells{};  // sorted keys; some may be connections
  std::vector<float> sums{};           // of each
};

}  // namespace tulle
