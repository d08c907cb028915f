#include "tulle/train/exploration.h"

#include <vector>

#include "tulle/base/spill.h"

namespace tulle {

void start_exploring(Run& run) {
  if (!run.state.explored.empty()) return;
  for (std::size_t l = 0; l < run.model.network.size(); ++l) {
    const Topology* const topology = run.model.network.layer(l).topology();
    run.state.explored.emplace_back(topology == nullptr ? 0 : topology->cells());
    if (topology != nullptr) run.state.explored[l].insert(topology->keys());
    release_spilled();
  }
}

void explore(Run& run, std::size_t layer, std::span<const std::uint64_t> grown) {
  std::vector<std::uint64_t> cells(grown.begin(), grown.end());
  for (std::uint64_t& cell : cells) cell = run.model.network.original_key(layer, cell);
  run.state.explored[layer].insert(cells);
}

double explored_count(const Run& run, std::size_t layer) {
  return run.model.network.row_share(layer).sum(run.state.explored[layer].count());
}

std::optional<double> exploration(const Run& run) {
  if (run.state.explored.empty()) return std::nullopt;
  const Network& network = run.model.network;
  double seen = 0.0, cells = 0.0;
  for (std::size_t l = 0; l < network.size(); ++l) {
    const auto all = static_cast<double>(network.original_cells(l));
    seen += network.layer(l).topology() != nullptr ? explored_count(run, l) : all;
    cells += all;
  }
  return seen / cells;
}

}  // namespace tulle
