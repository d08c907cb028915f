#include <gtest/gtest.h>

#include <bit>
#include <limits>
#include <set>

#include "tulle/evolve/rule.h"
#include "tulle/evolve/test_layer.h"

namespace tulle {
namespace {

class EveryRule : public testing::TestWithParam<RuleInfo> {};

TEST_P(EveryRule, KeepsEveryInvariantOverTenThousandEvents) {
  Dice dice;
  int events = 0;
  while (events < 10'000) {
    const auto rows = static_cast<std::int32_t>(1 + dice.below(7));
    const auto cols = static_cast<std::int32_t>(1 + dice.below(7));
    const auto cells = static_cast<std::uint64_t>(rows) * static_cast<std::uint64_t>(cols);
    const auto m = static_cast<std::int64_t>(dice.below(cells + 1));  // none and all included
    TestLayer layer = make_layer(rows, cols, m, dice);
    const double zetas[] = {0.0, 0.3, 1.0, static_cast<double>(dice.below(1001)) / 1000};
    const double zeta = zetas[dice.below(4)];
    const auto rule = GetParam().make({.zeta = zeta});
    SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(cols) + ", " + std::to_string(m) +
                 " connections, zeta " + std::to_string(zeta) + ", event " + std::to_string(events));
    for (std::uint32_t event = 0; event < 10; ++event, ++events) {
      const TopologyUpdate update = rule->evolve(layer.input(dice.below(~0ull), event));
      ASSERT_TRUE(valid_update(layer.topology, update));
      ASSERT_EQ(update.topology.nnz(), m);
      ASSERT_EQ(update.dropped(m), update.grown());
      const auto carried = carry_over<float>(update, layer.weights, 7.0f);
      ASSERT_EQ(carried.size(), static_cast<std::size_t>(m));
      std::vector<float> weights;
      for (std::size_t k = 0; k < carried.size(); ++k) {
        if (update.source[k] == TopologyUpdate::kGrown) {
          ASSERT_EQ(carried[k], 7.0f);
          weights.push_back(awkward_weight(dice));
        } else {
          const float old = layer.weights[static_cast<std::size_t>(update.source[k])];
          ASSERT_EQ(std::bit_cast<std::uint32_t>(carried[k]), std::bit_cast<std::uint32_t>(old));
          weights.push_back(old);
        }
      }
      layer = {update.topology, weights};
    }
  }
}

TEST_P(EveryRule, AnswersTheSameForTheSameSeedAndEventOnly) {
  Dice dice;
  const TestLayer layer = make_layer(30, 40, 200, dice);
  const auto rule = GetParam().make({.zeta = 0.5});
  const TopologyUpdate first = rule->evolve(layer.input(1, 2)), again = rule->evolve(layer.input(1, 2));
  EXPECT_EQ(again.topology, first.topology);
  EXPECT_EQ(again.source, first.source);
  EXPECT_NE(rule->evolve(layer.input(2, 2)).topology, first.topology);
  EXPECT_NE(rule->evolve(layer.input(1, 3)).topology, first.topology);
}

TEST_P(EveryRule, LeavesAnEmptyLayerEmpty) {
  const TestLayer layer = layer_of({});
  EXPECT_EQ(GetParam().make({.zeta = 1.0})->evolve(layer.input(1, 1)).topology, layer.topology);
}

TEST_P(EveryRule, EndsOnLayersThatAreAlmostFullAndFull) {
  Dice dice;
  for (const std::int64_t free : {0, 1, 10}) {  // of 10,000 cells
    const TestLayer layer = make_layer(100, 100, 10'000 - free, dice);
    const TopologyUpdate update = GetParam().make({.zeta = 0.3})->evolve(layer.input(1, 1));
    EXPECT_TRUE(valid_update(layer.topology, update));
    EXPECT_EQ(update.topology.nnz(), 10'000 - free);
    EXPECT_GT(update.grown(), 2'000);
  }
}

TEST_P(EveryRule, MayGrowWhatItJustDropped) {
  // All connections renewed on a layer that is half full: about half come back where they were.
  Dice dice;
  const TestLayer layer = make_layer(100, 100, 5'000, dice);
  const TopologyUpdate update = GetParam().make({.zeta = 1.0})->evolve(layer.input(1, 1));
  ASSERT_EQ(update.grown(), 5'000);
  const std::vector<std::uint64_t> old = layer.topology.keys(), grown = update.topology.keys();
  std::vector<std::uint64_t> same;
  std::set_intersection(old.begin(), old.end(), grown.begin(), grown.end(), std::back_inserter(same));
  EXPECT_NEAR(static_cast<double>(same.size()), 2'500, 125);  // 5 sigma of the hypergeometric law
}

TEST_P(EveryRule, StaysValidWithNanAndInfinityAmongTheWeights) {
  // A training that diverges may reach an event before its loss shows it.
  Dice dice;
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  for (int trial = 0; trial < 300; ++trial) {
    TestLayer layer = make_layer(8, 9, 40, dice);
    for (float& w : layer.weights) {
      const std::uint64_t kind = dice.below(trial < 100 ? 2 : 6);
      if (kind == 0) w = dice.below(2) == 0 ? kNan : -kNan;
      if (kind == 1) w = dice.below(2) == 0 ? INFINITY : -INFINITY;
    }
    if (trial == 0) layer.weights.assign(layer.weights.size(), kNan);
    const TopologyUpdate update = GetParam().make({.zeta = 0.3})->evolve(layer.input(1, 1));
    ASSERT_TRUE(valid_update(layer.topology, update));
    ASSERT_EQ(update.topology.nnz(), 40);
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, EveryRule, testing::ValuesIn(active_rules()), rule_name);

TEST(Rules, AreNamedOnceAndOnlyNoneDoesNothing) {
  std::set<std::string_view> names;
  for (const RuleInfo& rule : rules()) {
    EXPECT_TRUE(names.insert(rule.name).second) << rule.name;
    EXPECT_EQ(rule.make == nullptr, rule.name == "none") << rule.name;
  }
}

}  // namespace
}  // namespace tulle
