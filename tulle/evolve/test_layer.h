#pragma once

// For tests only: tiny layers with awkward weights, and what every update must be.

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tulle/base/name_table.h"
#include "tulle/evolve/drop.h"
#include "tulle/evolve/grow.h"
#include "tulle/kernels/test_problem.h"
#include "tulle/sparse/sampling.h"
#include "tulle/sparse/topology_update.h"

namespace tulle {

using kernels::Dice;

/// One layer as a rule sees it.
struct TestLayer {
  Topology topology;
  std::vector<float> weights;
};

/// What drop and grow rules look at beside topology and weights: two panels of a batch of 20 samples, and
/// arrays of one entry per connection. Made from the shape alone.
struct TestSignals {
  static constexpr std::int32_t kBatch = 20, kWidth = 16;
  PanelBuffer inputs_memory, errors_memory;
  Panels<float> inputs, errors;
  std::vector<float> gradients, pending;

  explicit TestSignals(const Topology& topology, std::uint64_t seed = 7) {
    const Random random{.seed = seed, .stream = Stream::kData};
    std::uint64_t place = 0;
    const auto value = [&] { return 2.0f * random.uniform(place++) - 1.0f; };
    inputs = inputs_memory.view(topology.cols(), kBatch, kWidth);
    errors = errors_memory.view(topology.rows(), kBatch, kWidth);
    for (const Panels<float>& panels : {inputs, errors})
      for (std::int32_t f = 0; f < panels.features; ++f)
        for (std::int32_t b = 0; b < kBatch; ++b) panels.at(b, f) = value();
    for (std::int64_t k = 0; k < topology.nnz(); ++k) {
      gradients.push_back(value());
      pending.push_back(value());
    }
  }

  DropInput drop_input(const TestLayer& layer, double zeta) const {
    return {.topology = layer.topology,
            .weights = layer.weights,
            .gradients = gradients,
            .pending = pending,
            .zeta = zeta};
  }
  GrowInput grow_input(const Topology& taken, std::int64_t count, std::int64_t connections) const {
    return {.taken = taken, .count = count, .connections = connections, .inputs = inputs, .errors = errors};
  }
};

/// One event of a pair of rules on a layer alone; what is dropped may grow again.
inline TopologyUpdate evolve_layer(const DropInfo& drop, const GrowInfo& grow, const TestLayer& layer,
                                   double zeta, std::uint64_t seed, std::uint32_t event) {
  const TestSignals signals(layer.topology, 1000 * seed + event);
  DropInput drop_input = signals.drop_input(layer, zeta);
  drop_input.random = {.seed = seed, .stream = Stream::kDrop, .layer = 1, .event = event};
  const std::vector<std::uint8_t> marks = marks_of(drop, drop_input);
  const Topology kept = without(layer.topology, marks).topology;
  GrowInput input = signals.grow_input(kept, layer.topology.nnz() - kept.nnz(), layer.topology.nnz());
  input.random = {.seed = seed, .stream = Stream::kGrow, .layer = 1, .event = event};
  return replace_connections(layer.topology, marks,
                             grow.grow == nullptr ? std::vector<std::uint64_t>{} : grow.grow(input));
}
inline TopologyUpdate evolve_layer(std::string_view drop, std::string_view grow, const TestLayer& layer,
                                   double zeta, std::uint64_t seed, std::uint32_t event) {
  return evolve_layer(find_name(drop_rules(), "test", drop), find_name(grow_rules(), "test", grow), layer,
                      zeta, seed, event);
}

/// A weight as trainings and their accidents make them: any number, one of few so that ties are common, or a
/// zero of either sign.
inline float awkward_weight(Dice& dice) {
  switch (dice.below(4)) {
    case 0:
      return 0.25f * static_cast<float>(dice.below(5)) - 0.5f;
    case 1:
      return dice.below(2) == 0 ? 0.0f : -0.0f;
    default:
      return dice.value();
  }
}

inline TestLayer make_layer(std::int32_t rows, std::int32_t cols, std::int64_t m, Dice& dice) {
  TestLayer layer{random_topology(rows, cols, m, {.seed = dice.below(~0ull)}), {}};
  for (std::int64_t k = 0; k < m; ++k) layer.weights.push_back(awkward_weight(dice));
  return layer;
}

/// One row of these weights, with as many free cells beside them.
inline TestLayer layer_of(std::vector<float> weights) {
  std::vector<std::uint64_t> keys;
  for (std::size_t k = 0; k < weights.size(); ++k) keys.push_back(2 * k);
  const auto cols = static_cast<std::int32_t>(std::max<std::size_t>(1, 2 * weights.size()));
  return {Topology::from_keys(1, cols, keys), std::move(weights)};
}

/// The flags of the connections an update dropped: those whose old position it does not name.
inline std::vector<bool> dropped_by(const TopologyUpdate& update, std::size_t old_nnz) {
  std::vector<bool> dropped(old_nnz, true);
  for (const std::int64_t position : update.source)
    if (position != TopologyUpdate::kGrown) dropped[static_cast<std::size_t>(position)] = false;
  return dropped;
}

/// Whether `update` turns `old` into a valid topology: keys sorted, unique and in range, every survivor at
/// the cell it had, none twice, and every other connection new in the sense that its cell held no survivor.
inline ::testing::AssertionResult valid_update(const Topology& old, const TopologyUpdate& update) {
  const std::vector<std::uint64_t> before = old.keys(), after = update.topology.keys();
  if (update.topology.rows() != old.rows() || update.topology.cols() != old.cols())
    return ::testing::AssertionFailure() << "the shape changed";
  if (update.source.size() != after.size() ||
      update.topology.nnz() != static_cast<std::int64_t>(after.size()))
    return ::testing::AssertionFailure() << "array lengths differ";
  std::int64_t last = -1;
  for (std::size_t k = 0; k < after.size(); ++k) {
    if (after[k] >= old.cells() || (k > 0 && after[k] <= after[k - 1]))
      return ::testing::AssertionFailure()
             << "key " << after[k] << " at " << k << " is out of order or range";
    const std::int64_t source = update.source[k];
    if (source == TopologyUpdate::kGrown) continue;
    if (source <= last || source >= old.nnz())
      return ::testing::AssertionFailure() << "old position " << source << " is out of order or range";
    if (before[static_cast<std::size_t>(source)] != after[k])
      return ::testing::AssertionFailure() << "old connection " << source << " moved to another cell";
    last = source;
  }
  const auto& row_ptr = update.topology.row_ptr();
  if (row_ptr.front() != 0 || row_ptr.back() != update.topology.nnz())
    return ::testing::AssertionFailure() << "row pointers do not span the connections";
  return ::testing::AssertionSuccess();
}

/// "set-published" as a test name.
inline std::string rule_test_name(std::string_view name) {
  std::string text(name);
  std::erase(text, '-');
  return text;
}

}  // namespace tulle
