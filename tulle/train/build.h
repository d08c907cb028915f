#pragma once

#include "tulle/checkpoint/model.h"
#include "tulle/data/load.h"
#include "tulle/evolve/evolve.h"
#include "tulle/train/config.h"

namespace tulle {

/// The [data] keys as the readers want them.
DataOptions data_options(const Config& config);

/// The untrained model a config describes for this data: topologies drawn, weights at their start values.
/// Throws tulle::Error (kConfig) for a network that cannot be. Cost: O(connections + neurons).
Model build_model(const Config& config, const Dataset& data);

/// The layer sizes input, hidden..., output.
std::vector<std::int32_t> layer_sizes(const Config& config, const Dataset& data);

/// How connections get their values at the start, and when they grow.
WeightLaw weight_law(const Config& config);
WeightLaw grow_law(const Config& config);

}  // namespace tulle
