#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "tulle/base/aligned.h"
#include "tulle/base/random.h"
#include "tulle/sparse/topology.h"

namespace tulle {

/// What a law of start values may look at.
struct InitContext {
  const Topology& topology;
  bool sparse_fan = false;  // true: count the connections a neuron has; false: as if all existed (published)
  double source_second_moment =
      1.0;  // E[f(x)^2] of the source layer's activation for x ~ N(0,1), after dropout
  // Of the layer, where the topology is some of its rows.
  std::int32_t targets = topology.rows();
  std::int64_t connections = topology.nnz();
};

struct WeightInitInfo {
  std::string_view name;
  std::string_view help;
  /// Half-width of the uniform law for connections into `target`; for `normal` laws the standard deviation.
  /// The same for all targets unless the context counts degrees (sparse_fan).
  double (*spread)(const InitContext&, std::int32_t target);
  bool normal = false;
};

std::span<const WeightInitInfo> weight_inits();

/// Values of all connections; `random` is asked at the position of each connection. Cost: O(nnz).
AlignedVector<float> initial_weights(const WeightInitInfo& law, const InitContext& context,
                                     const Random& random);

/// Values of connections that grow: `cells` of `context.topology`, as keys, each drawn at first_key + its
/// key. Cost: O(cells).
std::vector<float> grown_weights(const WeightInitInfo& law, const InitContext& context, const Random& random,
                                 std::span<const std::uint64_t> cells, std::uint64_t first_key);

/// The value the law gives to one connection into a neuron whose law.spread() is `spread`, drawn at place
/// `index`.
float draw_weight(const WeightInitInfo& law, double spread, const Random& random, std::uint64_t index);

}  // namespace tulle
