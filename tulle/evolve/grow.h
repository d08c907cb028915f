#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include "tulle/base/panels.h"
#include "tulle/base/random.h"
#include "tulle/sparse/cell_scores.h"
#include "tulle/sparse/row_share.h"
#include "tulle/sparse/topology.h"
#include "tulle/sparse/window.h"

namespace tulle {

/// What a grow rule sees of one layer. Inputs and errors belong to the last training step; errors are dL/dz
/// of the mean loss, so that the gradient of a cell is the sum over the samples of error * input.
struct GrowInput {
  const Topology& taken;                 // cells that may not grow
  RowShare share{};                      // which rows of the layer this is
  std::int64_t count = 0;                // how many are to grow in the layer
  std::int64_t connections = 0;          // of the layer before the event
  Panels<const float> inputs{};          // [panel][source][width]; empty unless the rule needs them
  Panels<const float> errors{};          // [panel][target][width]
  double candidates = 1.0;               // gse, momentum: cells looked at, as a multiple of `connections`
  WindowLaw window{};                    // of cells that grow at random
  const CellScores* gathered = nullptr;  // of a rule that gathers; null: the last step's count alone
  Random random{};                       // places for random choices
};

/// Decides which cells of a layer become connections: `count` of those not taken, all of them if there are
/// fewer, as sorted keys; where `taken` are some rows of a layer, those of them that lie there. The same for
/// any number of threads.
using Grow = std::vector<std::uint64_t>(const GrowInput&);

/// Adds the last step to the scores of cells that may grow at the event to come: those there were, times
/// `momentum`, and its gradients. Empty scores: it is the first of these steps, and draws the cells.
using Gather = void(const GrowInput&, double momentum, CellScores& scores);

struct GrowInfo {
  std::string_view name;
  std::string_view help;
  std::string_view source;
  Grow* grow = nullptr;       // null: nothing grows
  bool needs_errors = false;  // looks at inputs and errors
  bool zero_start = false;    // grown connections start at 0 unless evolve.grow_init says otherwise
  bool every_cell = false;    // computes the gradient of every cell
  Gather* gather = nullptr;   // what it does in each of the last steps before an event; null: nothing
  bool by_rows = false;       // decides over a layer whose rows are spread over ranks
};

std::span<const GrowInfo> grow_rules();

/// Distinct cells that guided exploration proposes as gse-estimate does, connections among them, as sorted
/// keys; every cell where no more are free than it would draw. Cost: O(candidates log neurons).
std::vector<std::uint64_t> proposed_cells(const GrowInput& input);

/// dL/dw of each of these cells. Cost: 2 * batch flop a cell.
std::vector<float> cell_gradients(const GrowInput& input, std::span<const std::uint64_t> cells);

/// A cell and how much it wants to grow.
struct ScoredCell {
  float score;  // 0 or more
  std::uint64_t key;
};

/// Whether `a` grows before `b`: higher score, then lower key.
inline bool grows_before(const ScoredCell& a, const ScoredCell& b) {
  return a.score > b.score || (a.score == b.score && a.key < b.key);
}

/// How much a cell of this gradient wants to grow. A training that diverges has NaN, which must not leave the
/// network with too few connections: it counts as infinity.
inline float score_of(float gradient) {
  const float size = std::abs(gradient);
  return size <= std::numeric_limits<float>::max() ? size : std::numeric_limits<float>::infinity();
}

/// The `count` cells of highest score, ties by lower key, as sorted keys.
std::vector<std::uint64_t> best_cells(std::vector<ScoredCell> cells, std::int64_t count);

/// The same for input.count free cells; what these cannot give grows anywhere, drawn from
/// (input.random, Stream::kGrowRest).
std::vector<std::uint64_t> best_cells_and_others(const GrowInput& input, std::vector<ScoredCell> cells);

}  // namespace tulle
