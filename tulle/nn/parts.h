#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "tulle/nn/network.h"

namespace tulle {

/// What is told of a layer to those that have parts of it.
Spread::LayerInfo spread_info(const Layer& whole);

/// Some neurons of a layer, with the connections into them and all that the optimizer keeps; a sparse one
/// becomes Storage::kCompact. Cost: that of the part.
std::unique_ptr<Layer> part_of(Layer& whole, Range neurons);

/// One rank's part of a network whose layers follow each other and of which no neuron was removed. Throws
/// std::invalid_argument for another. Cost: that of the part.
Network part_of(Network& whole, const Share& share);

/// The whole network of which every rank has a part, on rank 0; nothing on the others. Every rank calls it.
/// Memory: rank 0 holds the whole, which a Spilling (base/spill.h) keeps in files but for the layer at work.
/// Throws what Communicator::wait() throws.
std::optional<Network> whole_of(Network& part);

}  // namespace tulle
