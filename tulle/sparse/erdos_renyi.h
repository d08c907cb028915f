#pragma once

#include <cstdint>

#include "tulle/base/random.h"
#include "tulle/sparse/topology.h"

namespace tulle {

// Random topologies whose number of connections is itself random, as published codes draw them. For exact
// numbers: random_topology() (sampling.h). The same cells for any number of threads.

/// Each cell is a connection with this probability, independently of all others. Cost: O(connections) time
/// and memory, by geometric skips from one to the next. Throws std::invalid_argument unless it is 0 to 1.
Topology bernoulli_topology(std::int32_t rows, std::int32_t cols, double probability, const Random& key);

/// `draws` cells, uniformly drawn with replacement; one that is drawn several times is one connection.
/// Cost: O(draws) time and memory.
Topology merged_draws_topology(std::int32_t rows, std::int32_t cols, std::int64_t draws, const Random& key);

/// How many connections merged_draws_topology() is expected to have: N (1 - (1 - 1/N)^draws) of N cells.
double expected_merged_draws(double cells, double draws);

}  // namespace tulle
