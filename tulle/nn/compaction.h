#pragma once

#include <cstdint>
#include <vector>

#include "tulle/nn/network.h"

namespace tulle {

/// Which neurons stay: one flag per output of each layer.
using Alive = std::vector<std::vector<std::uint8_t>>;

/// All outputs of all layers.
Alive all_alive(const Network& network);

/// The network without the neurons that are not alive: without their inputs, outputs, biases, activation
/// parameters and what the optimizer keeps of them. What stays keeps its value and state bit for bit, its
/// order and, for dropout, its original number; layers become smaller. Throws std::invalid_argument unless
/// every layer keeps a neuron and the last one all of its. Cost: O(connections).
Network without_neurons(Network& network, const Alive& alive);

/// The network without the connections marked in drop[l] (one flag per stored weight of layer l; empty: all
/// stay). Dense layers that lose some become sparse. What stays keeps its value and state.
Network without_connections(Network& network, const std::vector<std::vector<std::uint8_t>>& drop);

}  // namespace tulle
