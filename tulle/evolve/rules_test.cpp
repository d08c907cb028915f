#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tulle/evolve/rule.h"
#include "tulle/sparse/sampling.h"
#include "tulle/sparse/test_statistics.h"

namespace tulle {
namespace {

class EveryRule : public testing::TestWithParam<RuleInfo> {};

// All but the one that leaves the topology alone.
std::vector<RuleInfo> changing_rules() {
  std::vector<RuleInfo> all(rules().begin(), rules().end());
  std::erase_if(all, [](const RuleInfo& rule) { return rule.make == nullptr; });
  return all;
}

std::vector<float> random_weights(std::int64_t count, std::mt19937_64& random) {
  std::vector<float> weights(static_cast<std::size_t>(count));
  for (float& w : weights) w = std::uniform_real_distribution<float>(-1, 1)(random);
  return weights;
}

// A chain of events as in a training: what one leaves behind, the next finds.
TEST_P(EveryRule, KeepsConnectionsSortedUniqueInsideAndAsManyThroughTenThousandEvents) {
  SCOPED_TRACE(seed_note());
  std::mt19937_64 random(test_seed());
  for (int net = 0; net < 100; ++net) {
    const auto rows = static_cast<std::int32_t>(1 + random() % 12);
    const auto cols = static_cast<std::int32_t>(1 + random() % 12);
    const auto m = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(rows * cols + 1));
    const auto rule = GetParam().make({.zeta = static_cast<double>(random() % 11) / 10});
    Topology topology = random_topology(rows, cols, m, {.seed = random()});
    std::vector<float> weights = random_weights(m, random);
    for (std::uint32_t event = 0; event < 100; ++event) {
      const Random grow{.seed = trial_seed(net), .stream = Stream::kGrow, .event = event};
      const TopologyUpdate update = rule->evolve({.topology = topology, .weights = weights, .grow = grow});
      ASSERT_EQ(update.topology.nnz(), m) << "net " << net << ", event " << event;
      // Topology's constructor refuses unsorted, repeated and outside columns; keys() must agree with it.
      const auto keys = update.topology.keys();
      ASSERT_TRUE(std::is_sorted(keys.begin(), keys.end(), std::less_equal<>()));
      ASSERT_TRUE(keys.empty() || keys.back() < topology.cells());
      ASSERT_EQ(update.source.size(), keys.size());
      const auto old_keys = topology.keys();
      for (std::size_t k = 0; k < keys.size(); ++k) {
        if (update.source[k] != TopologyUpdate::kGrown) {
          ASSERT_EQ(old_keys[static_cast<std::size_t>(update.source[k])], keys[k]);
        }
      }
      weights = carry_over<float>(update, weights, 0.0f);
      for (float& w : weights)
        if (w == 0.0f) w = std::uniform_real_distribution<float>(-1, 1)(random);
      topology = update.topology;
    }
  }
}

TEST_P(EveryRule, KeepsTheStrongestConnectionOfEachSign) {
  const Topology topology = random_topology(10, 10, 40, {.seed = 3});
  std::vector<float> weights;  // distinct: the published thresholds take ties with them
  for (int k = 0; k < 40; ++k) weights.push_back((k < 20 ? -0.01f : 0.01f) * static_cast<float>(k + 1));
  weights[7] = -2.0f;
  weights[33] = 2.0f;
  const TopologyUpdate update =
      GetParam()
          .make({.zeta = 0.5})
          ->evolve({.topology = topology, .weights = weights, .grow = {.seed = 1, .stream = Stream::kGrow}});
  for (const std::int64_t strongest : {7, 33})
    EXPECT_EQ(std::count(update.source.begin(), update.source.end(), strongest), 1) << strongest;
}

TEST_P(EveryRule, TerminatesOnAlmostFullAndFullLayers) {
  for (const std::int64_t missing : {0, 1, 10}) {
    const Topology topology = random_topology(100, 100, 10'000 - missing, {.seed = 5});
    std::vector<float> weights(static_cast<std::size_t>(topology.nnz()));
    for (std::size_t k = 0; k < weights.size(); ++k)
      weights[k] = (k % 2 == 0 ? 1.0f : -1.0f) * static_cast<float>(k + 1);
    const TopologyUpdate update =
        GetParam()
            .make({.zeta = 0.3})
            ->evolve(
                {.topology = topology, .weights = weights, .grow = {.seed = 1, .stream = Stream::kGrow}});
    EXPECT_EQ(update.topology.nnz(), topology.nnz());
    EXPECT_GE(update.grown(), topology.nnz() * 3 / 10 - 1);
  }
}

TEST_P(EveryRule, GrowsElsewhereAtAnotherEventLayerOrSeed) {
  const Topology topology = random_topology(50, 50, 250, {.seed = 5});
  std::mt19937_64 random(1);
  const std::vector<float> weights = random_weights(250, random);
  const auto rule = GetParam().make({.zeta = 0.3});
  const auto after = [&](Random grow) {
    return rule->evolve({.topology = topology, .weights = weights, .grow = grow}).topology;
  };
  const Topology first = after({.seed = 1, .stream = Stream::kGrow, .layer = 1, .event = 1});
  EXPECT_EQ(after({.seed = 1, .stream = Stream::kGrow, .layer = 1, .event = 1}), first);
  EXPECT_NE(after({.seed = 2, .stream = Stream::kGrow, .layer = 1, .event = 1}), first);
  EXPECT_NE(after({.seed = 1, .stream = Stream::kGrow, .layer = 2, .event = 1}), first);
  EXPECT_NE(after({.seed = 1, .stream = Stream::kGrow, .layer = 1, .event = 2}), first);
}

TEST_P(EveryRule, GrowsUniformlyAmongTheFreeCells) {
  SCOPED_TRACE(seed_note());
  // 12 of 36 cells, of which 6 go; the 30 cells not kept are equally likely to come.
  const Topology topology = random_topology(6, 6, 12, {.seed = 9});
  std::vector<float> weights;
  for (int k = 0; k < 12; ++k) weights.push_back(static_cast<float>(k % 2 == 0 ? k + 1 : -k - 1));
  const auto rule = GetParam().make({.zeta = 0.4});
  constexpr int kTrials = 20'000;
  std::vector<int> counts(36, 0);
  std::int64_t grown = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    const TopologyUpdate update =
        rule->evolve({.topology = topology,
                      .weights = weights,
                      .grow = {.seed = trial_seed(trial), .stream = Stream::kGrow}});
    const auto keys = update.topology.keys();
    for (std::size_t k = 0; k < keys.size(); ++k)
      if (update.source[k] == TopologyUpdate::kGrown) ++counts[keys[k]];
    grown = update.grown();
  }
  std::vector<int> free;  // cells of kept connections are never hit
  for (const int count : counts)
    if (count > 0) free.push_back(count);
  ASSERT_EQ(free.size(), static_cast<std::size_t>(36 - 12 + grown));
  EXPECT_TRUE(uniform_cells(free, kTrials, static_cast<double>(grown)));
}

INSTANTIATE_TEST_SUITE_P(Rules, EveryRule, testing::ValuesIn(changing_rules()), [](const auto& info) {
  std::string name(info.param.name);
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace tulle
