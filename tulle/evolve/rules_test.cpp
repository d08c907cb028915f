#include <gtest/gtest.h>

#include <bit>
#include <limits>
#include <set>
#include <tuple>

#include "tulle/evolve/rule.h"
#include "tulle/evolve/test_layer.h"

namespace tulle {
namespace {

/// A drop rule and a grow rule.
using Pair = std::tuple<std::string_view, std::string_view>;

class EveryRule : public ::testing::TestWithParam<Pair> {
 protected:
  static TopologyUpdate evolve(const TestLayer& layer, double zeta, std::uint64_t seed, std::uint32_t event) {
    return evolve_layer(std::get<0>(GetParam()), std::get<1>(GetParam()), layer, zeta, seed, event);
  }
  static bool prunes_only() { return std::get<1>(GetParam()) == "none"; }
  static bool random() { return std::get<1>(GetParam()) == "random"; }
  static bool drops_weak_ones_only() { return std::get<0>(GetParam()) == "threshold"; }
};

TEST_P(EveryRule, KeepsEveryInvariantOverTenThousandEvents) {
#ifdef TULLE_SANITIZED
  const int wanted = 500;  // each takes 20 times as long
#else
  const int wanted = 10'000;
#endif
  Dice dice;
  int events = 0;
  while (events < wanted) {
    const auto rows = static_cast<std::int32_t>(1 + dice.below(7));
    const auto cols = static_cast<std::int32_t>(1 + dice.below(7));
    const auto cells = static_cast<std::uint64_t>(rows) * static_cast<std::uint64_t>(cols);
    auto m = static_cast<std::int64_t>(dice.below(cells + 1));  // none and all included
    TestLayer layer = make_layer(rows, cols, m, dice);
    const double zetas[] = {0.0, 0.3, 1.0, static_cast<double>(dice.below(1001)) / 1000};
    const double zeta = zetas[dice.below(4)];
    SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(cols) + ", " + std::to_string(m) +
                 " connections, zeta " + std::to_string(zeta) + ", event " + std::to_string(events));
    for (std::uint32_t event = 0; event < 10; ++event, ++events) {
      const TopologyUpdate update = evolve(layer, zeta, dice.below(1 << 30), event);
      ASSERT_TRUE(valid_update(layer.topology, update));
      if (prunes_only()) {
        ASSERT_EQ(update.grown(), 0);
      } else {
        ASSERT_EQ(update.topology.nnz(), m);
        ASSERT_EQ(update.dropped(m), update.grown());
      }
      const auto carried = carry_over<float>(update, layer.weights, 7.0f);
      ASSERT_EQ(carried.size(), static_cast<std::size_t>(update.topology.nnz()));
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
      m = layer.topology.nnz();
    }
  }
}

TEST_P(EveryRule, AnswersTheSameForTheSameSeedAndEventOnly) {
  Dice dice;
  const TestLayer layer = make_layer(30, 40, 200, dice);
  const TopologyUpdate first = evolve(layer, 0.5, 1, 2), again = evolve(layer, 0.5, 1, 2);
  EXPECT_EQ(again.topology, first.topology);
  EXPECT_EQ(again.source, first.source);
  if (prunes_only()) return;
  EXPECT_NE(evolve(layer, 0.5, 2, 2).topology, first.topology);
  EXPECT_NE(evolve(layer, 0.5, 1, 3).topology, first.topology);
}

TEST_P(EveryRule, LeavesAnEmptyLayerEmpty) {
  const TestLayer layer = layer_of({});
  EXPECT_EQ(evolve(layer, 1.0, 1, 1).topology, layer.topology);
}

TEST_P(EveryRule, EndsOnLayersThatAreAlmostFullAndFull) {
  Dice dice;
  for (const std::int64_t free : {0, 1, 10}) {  // of 10,000 cells
    const TestLayer layer = make_layer(100, 100, 10'000 - free, dice);
    const TopologyUpdate update = evolve(layer, 0.3, 1, 1);
    EXPECT_TRUE(valid_update(layer.topology, update));
    if (prunes_only()) continue;
    EXPECT_EQ(update.topology.nnz(), 10'000 - free);
    EXPECT_GT(update.grown(), 2'000);
  }
}

TEST_P(EveryRule, MayGrowWhatItJustDropped) {
  // All connections renewed on a layer that is half full: about half come back where they were.
  if (!random() || drops_weak_ones_only()) return;
  Dice dice;
  const TestLayer layer = make_layer(100, 100, 5'000, dice);
  const TopologyUpdate update = evolve(layer, 1.0, 1, 1);
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
    const TopologyUpdate update = evolve(layer, 0.3, 1, 1);
    ASSERT_TRUE(valid_update(layer.topology, update));
    if (!prunes_only()) {
      ASSERT_EQ(update.topology.nnz(), 40);
    }
  }
}

template <class Row>
std::vector<std::string_view> names_of(std::span<const Row> table) {
  std::vector<std::string_view> names;
  for (const Row& row : table) names.push_back(row.name);
  return names;
}

std::string pair_name(const ::testing::TestParamInfo<Pair>& info) {
  return rule_test_name(std::get<0>(info.param)) + "_" + rule_test_name(std::get<1>(info.param));
}

// Every drop rule with one grow rule, and every grow rule with one drop rule: they know nothing of each
// other.
INSTANTIATE_TEST_SUITE_P(Drop, EveryRule,
                         ::testing::Combine(::testing::ValuesIn(names_of(drop_rules())),
                                            ::testing::Values("random")),
                         pair_name);
INSTANTIATE_TEST_SUITE_P(Grow, EveryRule,
                         ::testing::Combine(::testing::Values("magnitude"),
                                            ::testing::ValuesIn(names_of(grow_rules()))),
                         pair_name);

TEST(Rules, AreNamedOnceAndMadeOfRulesThatExist) {
  std::set<std::string_view> names;
  for (const RuleInfo& rule : rules()) {
    EXPECT_TRUE(names.insert(rule.name).second) << rule.name;
    EXPECT_EQ(rule.drop.empty(), rule.name == "none") << rule.name;
    if (rule.drop.empty()) continue;
    EXPECT_EQ(find_name(drop_rules(), "test", rule.drop).name, rule.drop);
    EXPECT_EQ(find_name(grow_rules(), "test", rule.grow).name, rule.grow);
  }
  for (const DropInfo& rule : drop_rules())
    EXPECT_NE(rule.score == nullptr, rule.mark == nullptr) << rule.name << " is a ranking or marks itself";
}

}  // namespace
}  // namespace tulle
