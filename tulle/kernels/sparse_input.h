#pragma once

#include <cstdint>

#include "tulle/base/parallel.h"

namespace tulle::kernels {

// A sparse layer times sparse samples: only connections whose source occurs in a sample are touched. Cost:
// O(entries of the batch * connections per source), against O(connections * batch) with samples in panels.

/// Connections from the sources that occur, source after source: those of source i are [begin[i], begin[i +
/// 1]), each with its target and weight.
struct ActiveConnections {
  const std::int64_t* begin;
  const std::int32_t* targets;
  const float* weights;
};

/// Entries of samples or of sources: [ptr[i], ptr[i + 1]) of index and value.
struct Entries {
  const std::int64_t* ptr;
  const std::int32_t* index;
  const float* values;
};

/// Sums of one line of 16 samples, b to b + count: line[target][16] = 0 + the sum over the sample's sources,
/// ascending, of weight * value. `line` holds targets * 16 floats.
void sparse_input_forward(const ActiveConnections& connections, const Entries& samples, std::int32_t first,
                          std::int32_t count, std::int32_t targets, float* line) noexcept;

/// Gradients of the `count` connections from source i, with their targets: the sum over the samples it occurs
/// in, ascending, of value * errors[target][sample]. `errors` are panels [panel][target][width].
void sparse_input_gradients(std::int64_t count, const std::int32_t* targets, const Entries& sources,
                            std::int64_t source, const float* errors, std::int64_t panel_size, int width,
                            float* gradients) noexcept;

}  // namespace tulle::kernels
