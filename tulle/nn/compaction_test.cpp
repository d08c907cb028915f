#include "tulle/nn/compaction.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <numeric>

#include "tulle/nn/test_network.h"

namespace tulle {
namespace {

// A network whose parameters have gradients and state everywhere.
Network filled(const NetworkSpec& spec, Dice& dice) {
  Network network = make_network(spec, dice);
  for (Parameter* parameter : network.parameters()) {
    parameter->m1.resize(parameter->value.size());
    parameter->age.resize(parameter->value.size());
    for (std::size_t k = 0; k < parameter->value.size(); ++k) {
      parameter->gradient[k] = dice.value();
      parameter->m1[k] = dice.value();
      parameter->age[k] = static_cast<std::uint16_t>(dice.below(100));
    }
  }
  return network;
}

Alive some_alive(const Network& network, Dice& dice) {
  Alive alive = all_alive(network);
  for (std::size_t l = 0; l + 1 < network.size(); ++l)
    for (std::uint8_t& flag : alive[l]) flag = dice.below(3) > 0 ? 1 : 0;
  return alive;
}

// The same network with nothing going into or out of the neurons that are not alive.
void silence(Network& network, const Alive& alive) {
  for (std::size_t l = 0; l < network.size(); ++l) {
    Layer& layer = network.layer(l);
    const Topology all =
        layer.topology() ? *layer.topology() : full_topology(layer.outputs(), layer.inputs());
    std::size_t k = 0;
    for (std::int32_t target = 0; target < layer.outputs(); ++target)
      for (const std::int32_t source : all.row(target)) {
        const bool dead = l > 0 && alive[l - 1][static_cast<std::size_t>(source)] == 0;
        if (dead) layer.weight().value[k] = 0.0f;
        ++k;
      }
  }
}

TEST(WithoutNeurons, ComputesWhatTheWholeNetworkComputesWithThemSilenced) {
  Dice dice;
  for (const char* activation : {"all-relu", "srelu", "tanh"})
    for (const bool dense : {false, true}) {
      const NetworkSpec spec{.sizes = {20, 30, 25, 5},
                             .activation = activation,
                             .densities = {0.4},
                             .dense = dense,
                             .dropout = 0.3};
      Network whole = filled(spec, dice);
      const Alive alive = some_alive(whole, dice);
      Network small = without_neurons(whole, alive);
      silence(whole, alive);
      oracle::Batch batch = make_batch("cross-entropy", 20, 5, 33, dice);
      for (const bool training : {false, true}) {  // training has dropout: masks go by the original numbers
        batch.training = training;
        const Outcome full = run_network(whole, batch, {.name = "cross-entropy"}, 32);
        const Outcome less = run_network(small, batch, {.name = "cross-entropy"}, 32);
        for (std::size_t b = 0; b < full.outputs.size(); ++b)
          for (std::size_t c = 0; c < full.outputs[b].size(); ++c)
            ASSERT_NEAR(less.outputs[b][c], full.outputs[b][c], 1e-5f) << activation << " dense " << dense;
      }
    }
}

TEST(WithoutNeurons, KeepsValuesAndStateOfWhatStaysBitForBit) {
  Dice dice;
  Network whole = filled({.sizes = {12, 15, 9, 4}, .densities = {0.5}}, dice);
  const Alive alive = some_alive(whole, dice);
  Network small = without_neurons(whole, alive);
  for (std::size_t l = 0; l < whole.size(); ++l) {
    std::size_t k = 0, j = 0;
    for (std::int32_t target = 0; target < whole.layer(l).outputs(); ++target)
      for (const std::int32_t source : whole.layer(l).topology()->row(target)) {
        const std::size_t old = k++;
        if (alive[l][static_cast<std::size_t>(target)] == 0 ||
            (l > 0 && alive[l - 1][static_cast<std::size_t>(source)] == 0))
          continue;
        const Parameter &a = whole.layer(l).weight(), &b = small.layer(l).weight();
        ASSERT_LT(j, b.value.size());
        EXPECT_EQ(std::bit_cast<int>(a.value[old]), std::bit_cast<int>(b.value[j]));
        EXPECT_EQ(a.gradient[old], b.gradient[j]);
        EXPECT_EQ(a.m1[old], b.m1[j]);
        EXPECT_EQ(a.age[old], b.age[j]);
        ++j;
      }
    EXPECT_EQ(j, small.layer(l).weight().value.size());
  }
}

TEST(WithoutNeurons, RemembersTheOriginalNumbersThroughSeveralRounds) {
  Dice dice;
  Network network = filled({.sizes = {6, 8, 4}, .densities = {0.9}}, dice);
  Alive alive = all_alive(network);
  alive[0] = {1, 0, 1, 1, 0, 1, 1, 1};
  network = without_neurons(network, alive);
  EXPECT_EQ(network.layer(0).options().neurons, (std::vector<std::uint32_t>{0, 2, 3, 5, 6, 7}));
  alive = all_alive(network);
  alive[0] = {0, 1, 1, 0, 1, 1};
  network = without_neurons(network, alive);
  EXPECT_EQ(network.layer(0).options().neurons, (std::vector<std::uint32_t>{2, 3, 6, 7}));
  EXPECT_EQ(network.layer(0).original_outputs(), 8);
  EXPECT_EQ(network.layer(0).outputs(), 4);
  EXPECT_EQ(network.layer(1).inputs(), 4);
  EXPECT_EQ(network.original_cells(0), 48u);
  EXPECT_EQ(network.original_cells(1), 32u);
  EXPECT_EQ(network.original_key(1, 3 * 4 + 2), 3u * 8 + 6);
  EXPECT_EQ(network.original_key(0, 2 * 6 + 5), 6u * 6 + 5);
  for (std::size_t l = 0; l < 2; ++l) {
    std::vector<std::uint64_t> current;
    for (std::uint64_t original = 0; original < network.original_cells(l); ++original)
      if (const auto key = network.current_key(l, original)) {
        EXPECT_EQ(network.original_key(l, *key), original);
        current.push_back(*key);
      }
    std::vector<std::uint64_t> all(l == 0 ? 24 : 16);  // of 4 x 6 and 4 x 4 cells
    std::iota(all.begin(), all.end(), std::uint64_t{0});
    EXPECT_EQ(current, all) << "layer " << l;
  }
}

TEST(WithoutNeurons, RefusesToEmptyALayerOrToTakeOutputs) {
  Dice dice;
  Network network = filled({.sizes = {6, 8, 4}, .densities = {0.9}}, dice);
  Alive alive = all_alive(network);
  alive[0].assign(8, 0);
  EXPECT_THROW(without_neurons(network, alive), std::invalid_argument);
  alive = all_alive(network);
  alive[1][2] = 0;
  EXPECT_THROW(without_neurons(network, alive), std::invalid_argument);
}

TEST(WithoutConnections, MakesDenseLayersSparseAndKeepsTheRest) {
  Dice dice;
  Network whole = filled({.sizes = {6, 8, 4}, .dense = true}, dice);
  std::vector<std::vector<std::uint8_t>> drop(2);
  for (int k = 0; k < 48; ++k) drop[0].push_back(k % 3 == 0 ? 1 : 0);
  Network less = without_connections(whole, drop);
  ASSERT_NE(less.layer(0).topology(), nullptr);
  EXPECT_EQ(less.layer(1).topology(), nullptr);
  EXPECT_EQ(less.layer(0).connections(), 32);
  for (std::size_t k = 0, j = 0; k < 48; ++k) {
    if (k % 3 == 0) {
      EXPECT_FALSE(less.layer(0).topology()->contains(static_cast<std::int32_t>(k / 6),
                                                      static_cast<std::int32_t>(k % 6)));
      continue;
    }
    EXPECT_EQ(less.layer(0).weight().value[j++], whole.layer(0).weight().value[k]);
  }
}

}  // namespace
}  // namespace tulle
