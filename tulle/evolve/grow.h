#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "tulle/base/panels.h"
#include "tulle/base/random.h"
#include "tulle/sparse/topology.h"

namespace tulle {

/// What a grow rule sees of one layer. Inputs and errors belong to the last training step; errors are dL/dz
/// of the mean loss, so that the gradient of a cell is the sum over the samples of error * input.
struct GrowInput {
  const Topology& taken;         // cells that may not grow
  std::int64_t count = 0;        // how many are to grow
  std::int64_t connections = 0;  // of the layer before the event
  Panels<const float> inputs{};  // [panel][source][width]; empty unless the rule needs them
  Panels<const float> errors{};  // [panel][target][width]
  double candidates = 1.0;       // gse: cells looked at, as a multiple of `connections`
  Random random{};               // places for random choices
};

/// Decides which cells of a layer become connections: `count` of those not taken, all of them if there are
/// fewer, as sorted keys. The same for any number of threads.
using Grow = std::vector<std::uint64_t>(const GrowInput&);

struct GrowInfo {
  std::string_view name;
  std::string_view help;
  std::string_view source;
  Grow* grow = nullptr;       // null: nothing grows
  bool needs_errors = false;  // looks at inputs and errors
  bool zero_start = false;    // grown connections start at 0 unless evolve.grow_init says otherwise
  bool every_cell = false;    // computes the gradient of every cell
};

std::span<const GrowInfo> grow_rules();

/// A cell and how much it wants to grow.
struct ScoredCell {
  float score;  // 0 or more
  std::uint64_t key;
};

/// Whether `a` grows before `b`: higher score, then lower key.
inline bool grows_before(const ScoredCell& a, const ScoredCell& b) {
  return a.score > b.score || (a.score == b.score && a.key < b.key);
}

/// The `count` cells of highest score, ties by lower key, as sorted keys.
std::vector<std::uint64_t> best_cells(std::vector<ScoredCell> cells, std::int64_t count);

}  // namespace tulle
