#include "tulle/evolve/grow.h"
#include "tulle/sparse/sampling.h"

// Sparse momentum (Dettmers and Zettlemoyer 2019, arXiv 1907.04840): cells grow by the momentum of their
// gradients. The paper keeps it for every cell; here candidates are drawn some steps before the event, as by
// gse-estimate, and only theirs is summed in these steps. Cost O(batch * candidates) a step.

namespace tulle {

// g_C <- mu g_C + G_C
void gather_momentum(const GrowInput& input, double momentum, CellScores& scores) {
  if (scores.cells.empty()) {
    scores.cells = proposed_cells(input);
    scores.sums.assign(scores.cells.size(), 0.0f);
  }
  const std::vector<float> gradients = cell_gradients(input, scores.cells);
  const auto mu = static_cast<float>(momentum);
  for (std::size_t i = 0; i < gradients.size(); ++i) scores.sums[i] = mu * scores.sums[i] + gradients[i];
}

std::vector<std::uint64_t> grow_momentum(const GrowInput& input) {
  CellScores last_step;
  const CellScores* scores = input.gathered;
  if (scores == nullptr) {
    gather_momentum(input, 0.0, last_step);
    scores = &last_step;
  }
  std::vector<std::uint64_t> free = scores->cells;
  strike_out_existing(input.taken, free);
  std::vector<ScoredCell> scored(free.size());
  for (std::size_t i = 0, place = 0; i < free.size(); ++i, ++place) {
    while (scores->cells[place] != free[i]) ++place;
    scored[i] = {score_of(scores->sums[place]), free[i]};
  }
  return best_cells_and_others(input, std::move(scored));
}

}  // namespace tulle
