#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tulle/nn/network.h"

namespace tulle {

/// Which neurons stay: one flag per output of each layer.
using Alive = std::vector<std::vector<std::uint8_t>>;

/// All outputs of all layers.
Alive all_alive(const Network& network);

/// Connections of a layer that stay, by target, in their order, and their places among the layer's.
struct KeptConnections {
  RawVector<std::int64_t> row_ptr{0};
  RawVector<std::int32_t> columns;
  std::vector<std::size_t> places;
};

/// Those between targets and sources that are alive, without the ones marked in `drop` (empty: none). Null:
/// all connections exist. Cost: O(connections).
KeptConnections kept_connections(const Topology* topology, std::span<const std::uint8_t> targets,
                                 std::span<const std::uint8_t> sources,
                                 std::span<const std::uint8_t> drop = {});

/// The network, learning state and all.
Network copy_of(Network& network);

/// The network without the neurons that are not alive: without their inputs, outputs, biases, activation
/// parameters and what the optimizer keeps of them. What stays keeps its value and state bit for bit, its
/// order and, for dropout, its original number; layers become smaller. Throws std::invalid_argument unless
/// every layer keeps a neuron, and all of its where not only the next layer reads them. Cost: O(connections).
Network without_neurons(Network& network, const Alive& alive);

/// The network without the connections marked in drop[l] (one flag per stored weight of layer l; empty: all
/// stay). Dense layers that lose some become sparse. What stays keeps its value and state.
Network without_connections(Network& network, const std::vector<std::vector<std::uint8_t>>& drop);

}  // namespace tulle
