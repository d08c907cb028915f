#include "tulle/train/evolving.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "tulle/nn/bf16_weights.h"
#include "tulle/sparse/sampling.h"

namespace tulle {

std::optional<double> stable_share(StabilityState& state, std::span<const LayerEvolution> events,
                                   std::int64_t wanted, double least) {
  state.connections.push_back(0);
  state.survivors.push_back(0);
  for (const LayerEvolution& event : events) {
    state.connections.back() += event.before;
    state.survivors.back() += event.before - event.dropped + event.regrown;
  }
  if (std::ssize(state.connections) > wanted) {
    state.connections.erase(state.connections.begin());
    state.survivors.erase(state.survivors.begin());
  }
  const auto sum = [](const std::vector<std::int64_t>& counts) {
    return static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}));
  };
  const double share = sum(state.survivors) / std::max(sum(state.connections), 1.0);
  if (std::ssize(state.connections) < wanted || !(share > least)) return std::nullopt;
  return share;
}

void rename_cells(std::vector<CellScores>& scores, const NewKey& key) {
  for (std::size_t l = 0; l < scores.size(); ++l) {
    CellScores left;
    for (std::size_t i = 0; i < scores[l].cells.size(); ++i)
      if (const std::optional<std::uint64_t> now = key(l, scores[l].cells[i])) {
        left.cells.push_back(*now);
        left.sums.push_back(scores[l].sums[i]);
      }
    scores[l] = std::move(left);
  }
}

void write_input_links(InputLinksFile& file, std::int64_t step, const Network& network,
                       std::span<const LayerEvolution> events) {
  if (!events.empty() && events.front().kept)
    return file.write(step, events.front().kept->connections, events.front().kept->strength);
  const Layer& first = network.layer(0);
  const SourceUse use =
      first.topology() != nullptr
          ? source_use(*first.topology(), values_of(first.weight()))
          : source_use(full_topology(first.outputs(), first.inputs()), values_of(first.weight()));
  file.write(step, use.connections, use.strength);
}

}  // namespace tulle
