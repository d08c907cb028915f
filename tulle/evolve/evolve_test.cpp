#include "tulle/evolve/evolve.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <map>

#include "tulle/base/parallel.h"
#include "tulle/nn/test_network.h"
#include "tulle/sparse/test_statistics.h"

namespace tulle {
namespace {

const WeightInitInfo& law_named(std::string_view name) {
  for (const WeightInitInfo& info : weight_inits())
    if (info.name == name) return info;
  throw std::logic_error("no such law");
}

struct Entry {
  float value, m1, m2;
  std::uint16_t age;
  bool operator==(const Entry&) const = default;
};

// Every connection of a layer by its cell.
std::map<std::uint64_t, Entry> entries(const Layer& layer) {
  std::map<std::uint64_t, Entry> all;
  const auto keys = layer.topology()->keys();
  const Parameter& w = layer.weight();
  for (std::size_t k = 0; k < keys.size(); ++k) all[keys[k]] = {w.value[k], w.m1[k], w.m2[k], w.age[k]};
  return all;
}

// Optimizer states that tell which connection they belong to.
void fill_states(Network& network) {
  for (Parameter* p : network.parameters()) {
    p->m1.clear(), p->m2.clear(), p->age.clear();
    for (std::size_t k = 0; k < p->value.size(); ++k) {
      p->m1.push_back(static_cast<float>(k) + 0.5f);
      p->m2.push_back(static_cast<float>(k) + 0.25f);
      p->age.push_back(static_cast<std::uint16_t>(k + 1));
    }
  }
}

NetworkSpec spec() { return {.sizes = {40, 30, 20, 5}, .densities = {0.2, 0.3, 0.5}}; }

TEST(Evolve, SurvivorsKeepWeightAndStateBitForBitAndGrownConnectionsStartWithoutState) {
  Dice dice;
  Network network = make_network(spec(), dice);
  fill_states(network);
  const auto rule = make_set({.zeta = 0.3});
  for (std::uint32_t event = 0; event < 20; ++event) {
    const std::map<std::uint64_t, Entry> before[] = {entries(network.layer(0)), entries(network.layer(1))};
    const auto records = evolve(network, *rule, {.law = &law_named("he-uniform")}, 1, event);
    ASSERT_EQ(records.size(), 2u) << "the output layer does not evolve";
    for (std::size_t l = 0; l < 2; ++l) {
      std::int64_t grown = 0;
      for (const auto& [key, entry] : entries(network.layer(l))) {
        const auto old = before[l].find(key);
        if (old != before[l].end() && entry == old->second) continue;
        ++grown;
        EXPECT_EQ(entry.m1, 0.0f);
        EXPECT_EQ(entry.m2, 0.0f);
        EXPECT_EQ(entry.age, 0);
      }
      EXPECT_EQ(records[l].layer, l);
      EXPECT_EQ(records[l].grown, grown);
      EXPECT_EQ(records[l].dropped, grown);
      EXPECT_EQ(records[l].before, records[l].after);
      EXPECT_EQ(network.layer(l).weight().gradient.size(), before[l].size());
    }
    fill_states(network);
  }
}

TEST(Evolve, LeavesBiasesTheOutputLayerAndDenseLayersAlone) {
  Dice dice;
  Network network = make_network(spec(), dice);
  fill_states(network);
  const auto output = entries(network.layer(2));
  const auto bias = network.layer(0).bias().value;
  evolve(network, *make_set({.zeta = 0.5}), {.law = &law_named("he-uniform")}, 1, 0);
  EXPECT_EQ(entries(network.layer(2)), output);
  EXPECT_EQ(network.layer(0).bias().value, bias);

  NetworkSpec dense = spec();
  dense.dense = true;
  Network full = make_network(dense, dice);
  const auto values = values_of(full);
  EXPECT_TRUE(evolve(full, *make_set({.zeta = 0.5}), {.law = &law_named("he-uniform")}, 1, 0).empty());
  EXPECT_EQ(values_of(full), values);
}

TEST(Evolve, GivesTheSameBitsForAnyNumberOfThreads) {
  std::vector<float> first;
  for (const int threads : {1, 2, 3, 7}) {
    Dice dice;
    set_thread_count(threads);
    Network network = make_network(spec(), dice);
    for (std::uint32_t event = 0; event < 3; ++event)
      evolve(network, *make_set({.zeta = 0.3}), {.law = &law_named("he-uniform")}, 1, event);
    const std::vector<float> values = values_of(network);
    if (first.empty()) first = values;
    EXPECT_EQ(values, first) << threads << " threads";
  }
  set_thread_count(0);
}

TEST(Evolve, GrowsElsewhereWithOtherValuesAtAnotherEventAndInAnotherLayer) {
  const auto cells_and_values = [](std::uint64_t seed, std::uint32_t event) {
    Dice dice;
    Network network = make_network({.sizes = {30, 30, 30, 5}, .densities = {0.2}}, dice);
    evolve(network, *make_set({.zeta = 1.0}), {.law = &law_named("he-uniform")}, seed, event);
    return std::pair(network.layer(0).topology()->keys(), values_of(network));
  };
  const auto first = cells_and_values(1, 1);
  for (const auto& other : {cells_and_values(2, 1), cells_and_values(1, 2)}) {
    EXPECT_NE(other.first, first.first);
    EXPECT_NE(other.second, first.second);
  }
  Dice dice;
  Network network = make_network({.sizes = {30, 30, 30, 5}, .densities = {0.2}}, dice);
  evolve(network, *make_set({.zeta = 1.0}), {.law = &law_named("he-uniform")}, 1, 1);
  EXPECT_NE(network.layer(0).topology()->keys(), network.layer(1).topology()->keys());
}

TEST(Evolve, GrownConnectionsFollowTheLawOfTheirTarget) {
  SCOPED_TRACE(seed_note());
  Dice dice;
  Network network = make_network({.sizes = {300, 200, 3}, .densities = {0.1}}, dice);
  const WeightLaw law{.law = &law_named("he-uniform"), .sparse_fan = true};
  const auto rule = make_set({.zeta = 1.0});  // every connection is new
  std::vector<double> shares;
  for (std::uint32_t event = 0; event < 3; ++event) {
    evolve(network, *rule, law, test_seed(), event);
    const Topology& topology = *network.layer(0).topology();
    std::size_t k = 0;
    for (std::int32_t target = 0; target < topology.rows(); ++target) {
      const double limit = std::sqrt(6.0 / static_cast<double>(topology.row(target).size()));
      for (std::size_t i = 0; i < topology.row(target).size(); ++i, ++k)
        shares.push_back((network.layer(0).weight().value[k] / limit + 1.0) / 2.0);
    }
  }
  // Kolmogorov-Smirnov against the uniform law; 2.6 / sqrt(n) is passed with probability 1 - 3e-6.
  std::sort(shares.begin(), shares.end());
  const auto n = static_cast<double>(shares.size());
  double distance = 0.0;
  for (std::size_t i = 0; i < shares.size(); ++i) {
    distance = std::max(distance, std::abs(shares[i] - static_cast<double>(i) / n));
    distance = std::max(distance, std::abs(shares[i] - static_cast<double>(i + 1) / n));
  }
  EXPECT_LT(distance, 2.6 / std::sqrt(n));
}

TEST(Evolve, ByTheZeroLawGrowsZeros) {
  Dice dice;
  Network network = make_network(spec(), dice);
  const auto records = evolve(network, *make_set({.zeta = 0.5}), {.law = &law_named("zero")}, 1, 0);
  const auto& values = network.layer(0).weight().value;
  EXPECT_GT(records[0].grown, 0);
  EXPECT_EQ(std::count(values.begin(), values.end(), 0.0f), records[0].grown);
}

}  // namespace
}  // namespace tulle
