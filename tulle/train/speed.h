#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tulle/nn/network.h"

namespace tulle {

/// How fast a network runs forward at one batch size, beside the dense network of the same shape and weights.
struct Speed {
  int batch = 0;
  double seconds = 0.0;        // of one batch, the fastest of several
  double dense_seconds = 0.0;  // 0: the dense network was not run
  /// Density at which the sparse network would be as slow as the dense one, if its time grows with its
  /// connections: density * dense_seconds / seconds; 0 if the dense network was not run.
  double break_even = 0.0;
  /// Largest difference between the outputs of both, relative to the largest output.
  double difference = 0.0;
};

/// The same network with every weight stored; absent connections are zeros. Cost: O(cells) time and memory.
Network dense_copy(Network& network);

/// Times forward passes as `tulle predict` makes them (nn/inference.h) on random inputs, both networks in
/// turn. The dense one is left out if its weights would take more than `dense_limit_bytes`. Cost: about 0.3 s
/// per batch size and network, or 3 passes.
std::vector<Speed> measure_speed(Network& network, std::span<const int> batches,
                                 std::uint64_t dense_limit_bytes);

}  // namespace tulle
