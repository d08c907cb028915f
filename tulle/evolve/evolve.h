#pragma once

#include <cstdint>
#include <vector>

#include "tulle/evolve/rule.h"
#include "tulle/nn/network.h"
#include "tulle/sparse/weight_init.h"

namespace tulle {

/// How grown connections, and all of them at the start, get their values.
struct WeightLaw {
  const WeightInitInfo* law = nullptr;
  bool sparse_fan = false;
};

/// The context of layer l's law in this network: the topology and the second moment of the source layer's
/// outputs.
InitContext init_context(const Network& network, std::size_t l, const Topology& topology,
                         const WeightLaw& law);

/// What one event did to one layer.
struct LayerEvolution {
  std::size_t layer = 0;
  std::int64_t before = 0, after = 0, dropped = 0, grown = 0;
};

/// One topology event: applies `rule` to every sparse layer but the last. Weights and optimizer states of
/// kept connections are untouched; grown ones are drawn from `law` (Stream::kGrowValue, at their cell).
/// `event` counts the steps before it; the same (seed, event) on the same network always gives the same
/// result, with any number of threads: they share the layers among them. Cost: O(nnz).
std::vector<LayerEvolution> evolve(Network& network, const TopologyRule& rule, const WeightLaw& law,
                                   std::uint64_t seed, std::uint32_t event);

}  // namespace tulle
