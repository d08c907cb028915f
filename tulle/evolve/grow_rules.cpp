#include <algorithm>

#include "tulle/evolve/grow.h"
#include "tulle/sparse/sampling.h"

namespace tulle {

Grow grow_random, grow_gradient, grow_gse_uniform, grow_gse_bound, grow_gse_estimate, grow_momentum;
Gather gather_momentum;

namespace {

// To add a grow rule: its file, its name above, one line here.
constexpr GrowInfo kGrowRules[] = {
    {.name = "random",
     .help = "any free cells",
     .source = "Mocanu et al. 2018",
     .grow = grow_random,
     .by_rows = true},
    {.name = "gradient",
     .help = "the cells of largest gradient, found tile by tile: 2 * batch * cells flop, no dense gradient",
     .source = "Evci et al. 2020",
     .grow = grow_gradient,
     .needs_errors = true,
     .zero_start = true,
     .every_cell = true},
    {.name = "gse-uniform",
     .help = "the largest gradients among cells drawn uniformly",
     .source = "Heddes et al. 2024",
     .grow = grow_gse_uniform,
     .needs_errors = true,
     .zero_start = true},
    {.name = "gse-bound",
     .help = "the same, neurons drawn by the sum of their magnitudes over the batch",
     .source = "Heddes et al. 2024",
     .grow = grow_gse_bound,
     .needs_errors = true,
     .zero_start = true},
    {.name = "gse-estimate",
     .help = "the same, neurons drawn by the magnitude of their sum with random signs",
     .source = "Heddes et al. 2024",
     .grow = grow_gse_estimate,
     .needs_errors = true,
     .zero_start = true},
    {.name = "momentum",
     .help =
         "the largest sums of gradients over the last momentum_steps, among cells drawn as by gse-estimate "
         "before these",
     .source = "Dettmers and Zettlemoyer 2019",
     .grow = grow_momentum,
     .needs_errors = true,
     .zero_start = true,
     .gather = gather_momentum},
    {.name = "none", .help = "nothing: the network only loses connections", .source = "", .by_rows = true},
};

}  // namespace

std::span<const GrowInfo> grow_rules() { return kGrowRules; }

std::vector<std::uint64_t> best_cells(std::vector<ScoredCell> cells, std::int64_t count) {
  const auto wanted = std::min(cells.size(), static_cast<std::size_t>(count));
  std::nth_element(cells.begin(), cells.begin() + static_cast<std::ptrdiff_t>(wanted), cells.end(),
                   grows_before);
  std::vector<std::uint64_t> keys(wanted);
  for (std::size_t i = 0; i < wanted; ++i) keys[i] = cells[i].key;
  std::sort(keys.begin(), keys.end());
  return keys;
}

std::vector<std::uint64_t> best_cells_and_others(const GrowInput& input, std::vector<ScoredCell> cells) {
  std::vector<std::uint64_t> grown = best_cells(std::move(cells), input.count);
  const auto missing = input.count - static_cast<std::int64_t>(grown.size());
  if (missing <= 0) return grown;
  std::vector<std::uint64_t> both = input.taken.keys();
  const auto middle = static_cast<std::ptrdiff_t>(both.size());
  both.insert(both.end(), grown.begin(), grown.end());
  std::inplace_merge(both.begin(), both.begin() + middle, both.end());
  const auto taken = Topology::from_keys(input.taken.rows(), input.taken.cols(), both);
  Random rest = input.random;
  rest.stream = Stream::kGrowRest;
  for (const std::uint64_t cell : random_absent_cells(taken, missing, rest)) grown.push_back(cell);
  std::sort(grown.begin(), grown.end());
  return grown;
}

}  // namespace tulle
