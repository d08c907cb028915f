#pragma once

// What a training keeps of its topology events, beside the topology itself.

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "tulle/checkpoint/model_file.h"
#include "tulle/evolve/evolve.h"
#include "tulle/report/input_links.h"

namespace tulle {

/// Notes one event for evolve.stable_events. The share of connections that the last `wanted` events left
/// where they were, once there were so many and it is above `least`; a connection that went and came back at
/// once counts as one that stayed.
std::optional<double> stable_share(StabilityState& state, std::span<const LayerEvolution> events,
                                   std::int64_t wanted, double least);

/// Scores with the cells called key(layer, cell); those that get no new key go.
using NewKey = std::function<std::optional<std::uint64_t>(std::size_t layer, std::uint64_t cell)>;
void rename_cells(std::vector<CellScores>& scores, const NewKey& key);

/// What the inputs of the network keep at an event; a first layer that did not evolve keeps all it has.
void write_input_links(InputLinksFile& file, std::int64_t step, const Network& network,
                       std::span<const LayerEvolution> events);

}  // namespace tulle
