#pragma once

#include "tulle/checkpoint/model.h"
#include "tulle/data/load.h"
#include "tulle/evolve/evolve.h"
#include "tulle/optim/optimizer.h"
#include "tulle/sparse/budgets.h"
#include "tulle/train/config.h"

namespace tulle {

/// The [data] keys as the readers want them.
DataOptions data_options(const Config& config);

/// The [topology] keys as sparse/budgets.h wants them.
TopologyOptions topology_options(const Config& config);

/// train.class_weights for this data, one per class; empty for "none". Throws tulle::Error (kConfig) for text
/// that is not that.
std::vector<float> class_weights(const Config& config, const Dataset& data);

/// What the model expects of the data it is used on.
DataFacts facts_of(const Model& model);

/// The untrained model a config describes for this data: topologies drawn, weights at their start values.
/// Throws tulle::Error (kConfig) for a network that cannot be. Cost: O(connections + neurons). `share`: that
/// part of it alone; memory is then that of the part and of one layer.
Model build_model(const Config& config, const Dataset& data, const Share& share = {});

/// Whether parallel.mode spreads each layer's neurons over the ranks.
bool spreads_neurons(const Config& config);

/// The layer sizes input, hidden..., output.
std::vector<std::int32_t> layer_sizes(const Config& config, const Dataset& data);

/// How connections get their values at the start.
WeightLaw weight_law(const Config& config);
/// train.optimizer with its options.
std::unique_ptr<Optimizer> make_optimizer(const Config::Train& config);

/// Connections of the network before it is built.
std::int64_t planned_connections(const Config& config, const Dataset& data);

/// How the sparse layers of a network of so many connections are kept: run.storage, or for "auto" what is
/// faster. Throws tulle::Error (kConfig) for "compact" with what needs gradients or errors of all layers at
/// once.
Storage storage_of(const Config& config, std::int64_t connections);

/// Whether training looks at the gradients of the weights between the backward pass and the step: clipping,
/// modes that share them, rules that drop by them. Otherwise sparse layers keep none.
bool needs_gradients(const Config& config);

/// Whether any layer is of Storage::kCompact.
bool is_compact(const Network& network);

/// How the topology changes: evolve.rule with what evolve.drop and evolve.grow put in its place. Throws
/// tulle::Error (kConfig) for choices that do not go together.
Evolution evolution_of(const Config& config);
/// Throws tulle::Error (kConfig) if the topology of such a network cannot change so.
void check_evolution(const Config& config, std::span<const std::int32_t> sizes);
/// Density of the layers that evolve at the start: all sparse ones but the last.
double initial_density(const Config& config, std::span<const std::int32_t> sizes);

}  // namespace tulle
