#include "tulle/sparse/budgets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <stdexcept>

#include "tulle/base/error.h"
#include "tulle/sparse/test_statistics.h"

namespace tulle {
namespace {

using Sizes = std::vector<std::int32_t>;
using Budgets = std::vector<std::int64_t>;

std::int64_t cells(const Sizes& sizes, std::size_t layer) {
  return std::int64_t{sizes[layer]} * sizes[layer + 1];
}

// The message of the config error, "" if there is none.
std::string refusal(const TopologyOptions& options, const Sizes& sizes) {
  try {
    layer_budgets(options, sizes);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfig);
    return error.what();
  }
  return "";
}

TEST(EpsilonBudgets, AreThoseOfThePublishedNet) {
  const TopologyOptions options{.distribution = "epsilon", .epsilon = 20};
  EXPECT_EQ(layer_budgets(options, Sizes{784, 1000, 1000, 1000, 10}), (Budgets{35680, 40000, 40000, 10000}));
}

TEST(EpsilonBudgets, RoundHalvesUpPerLayer) {
  const TopologyOptions options{.distribution = "epsilon", .epsilon = 0.5};
  EXPECT_EQ(layer_budgets(options, Sizes{2, 3}), Budgets{3});          // 2.5
  EXPECT_EQ(layer_budgets(options, Sizes{4, 5, 5}), (Budgets{5, 5}));  // 4.5, 5
}

TEST(EpsilonBudgets, OfATinyEpsilonAreOneAndOfAHugeOneAll) {
  EXPECT_EQ(layer_budgets({.epsilon = 1e-9}, Sizes{30, 20}), Budgets{1});
  EXPECT_EQ(layer_budgets({.epsilon = 1e300}, Sizes{30, 20}), Budgets{600});
  EXPECT_EQ(layer_budgets({.epsilon = 1e300}, Sizes{2'000'000'000, 2'000'000'000}),
            Budgets{4'000'000'000'000'000'000});
}

TEST(UniformBudgets, ShareTheRoundedTotalByLargestRemainder) {
  // 1.5 + 2.5 + 2.5 = 6.5, rounded 7: equal remainders are served from the first layer on.
  EXPECT_EQ(layer_budgets({.distribution = "uniform", .density = 0.25}, Sizes{6, 1, 10, 1}),
            (Budgets{2, 3, 2}));
  // 1.5 + 0.75 + 0.25 = 2.5, rounded 3: 0.75 goes first, then 0.5; no layer stays without a connection.
  EXPECT_EQ(layer_budgets({.distribution = "uniform", .density = 0.25}, Sizes{2, 3, 1, 1}),
            (Budgets{2, 1, 1}));
  EXPECT_EQ(layer_budgets({.distribution = "uniform", .density = 1}, Sizes{7, 5, 3}), (Budgets{35, 15}));
}

TEST(ErkBudgets, EqualAnExampleSolvedByHand) {
  // 10 % of 10000 + 200 cells are 1020. Shared 200 : 102 the second layer would get 344 of its 200 cells, so
  // it is dense, and the first gets the other 820.
  EXPECT_EQ(layer_budgets({.distribution = "erk", .density = 0.1}, Sizes{100, 100, 2}), (Budgets{820, 200}));
  // 20 % of 10000 + 1000 cells are 2200, shared 200 : 110 without a cap: 1419.35 and 780.65.
  EXPECT_EQ(layer_budgets({.distribution = "erk", .density = 0.2}, Sizes{100, 100, 10}),
            (Budgets{1419, 781}));
}

TEST(ErkBudgets, SolveAgainAfterACapThatMakesAnotherLayerExceed) {
  // 180 of 30 + 300 + 30 cells over 31 + 40 + 13 sides: s = 2.14 exceeds the first layer only (66 of 30). The
  // other 150 over 53 sides: s = 2.83 now exceeds the last (37 of 30). The other 120 fit.
  EXPECT_EQ(layer_budgets({.distribution = "erk", .density = 0.5}, Sizes{1, 30, 10, 3}),
            (Budgets{30, 120, 30}));
}

TEST(ErkBudgets, HaveTheExactSumRespectCapsAndShareTheRestBySides) {
  SCOPED_TRACE(seed_note());
  std::mt19937_64 random(test_seed());
  for (int trial = 0; trial < 2000; ++trial) {
    Sizes sizes(2 + random() % 6);
    for (auto& n : sizes) n = 5 + static_cast<std::int32_t>(random() % (random() % 2 == 0 ? 20 : 500));
    const double density = trial % 50 == 0 ? 1.0 : 0.02 + 0.98 * static_cast<double>(random() % 1000) / 1000;
    const Budgets budgets = layer_budgets({.distribution = "erk", .density = density}, sizes);
    double all = 0, low = 0, high = std::numeric_limits<double>::infinity();
    for (std::size_t l = 0; l < budgets.size(); ++l) {
      ASSERT_GE(budgets[l], 1);
      ASSERT_LE(budgets[l], cells(sizes, l));
      all += static_cast<double>(cells(sizes, l));
      if (budgets[l] == cells(sizes, l)) continue;
      // One scale must explain all layers that are not full, each rounded by less than 1.
      const double sides = sizes[l] + sizes[l + 1];
      low = std::max(low, (static_cast<double>(budgets[l]) - 1) / sides);
      high = std::min(high, (static_cast<double>(budgets[l]) + 1) / sides);
    }
    EXPECT_EQ(std::accumulate(budgets.begin(), budgets.end(), std::int64_t{0}), std::llround(density * all));
    EXPECT_LT(low, high);
    for (std::size_t l = 0; l < budgets.size(); ++l) {
      const double sides = sizes[l] + sizes[l + 1];
      const bool full = budgets[l] == cells(sizes, l);
      EXPECT_TRUE(!full || high * sides + 1 > static_cast<double>(cells(sizes, l))) << "full without need";
    }
  }
}

TEST(FixedFanInBudgets, AreTheFanInPerTargetAtMostAllSources) {
  EXPECT_EQ(layer_budgets({.distribution = "fixed-fan-in", .fan_in = 16}, Sizes{100, 50, 10, 3}),
            (Budgets{800, 160, 30}));
  EXPECT_EQ(
      layer_budgets({.distribution = "fixed-fan-in", .fan_in = std::numeric_limits<std::int64_t>::max()},
                    Sizes{100, 50}),
      Budgets{5000});
}

TEST(ExplicitBudgets, AreTheNumbersGiven) {
  EXPECT_EQ(layer_budgets({.distribution = "explicit", .budgets = {7, 6}}, Sizes{4, 3, 2}), (Budgets{7, 6}));
}

TEST(LayerBudgets, RefuseOptionsThatMakeNoSense) {
  using ::testing::HasSubstr;
  const Sizes sizes{4, 3, 2};
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const double epsilon : {0.0, -1.0, nan})
    EXPECT_THAT(refusal({.epsilon = epsilon}, sizes), HasSubstr("topology.epsilon"));
  for (const char* distribution : {"uniform", "erk"})
    for (const double density : {0.0, -0.1, 1.01, nan})
      EXPECT_THAT(refusal({.distribution = distribution, .density = density}, sizes),
                  HasSubstr("topology.density"));
  EXPECT_THAT(refusal({.distribution = "fixed-fan-in", .fan_in = 0}, sizes), HasSubstr("topology.fan_in"));
  EXPECT_THAT(refusal({.distribution = "explicit", .budgets = {7}}, sizes), HasSubstr("expected 2"));
  EXPECT_THAT(refusal({.distribution = "explicit", .budgets = {7, 7}}, sizes),
              HasSubstr("topology.budgets[1], found 7, expected 1 to 6"));
  EXPECT_THAT(refusal({.distribution = "explicit", .budgets = {0, 6}}, sizes),
              HasSubstr("topology.budgets[0]"));
}

TEST(LayerBudgets, OfAnUnknownDistributionNameTheNearest) {
  const std::string message = refusal({.distribution = "epsilom"}, {4, 3});
  EXPECT_THAT(message, ::testing::HasSubstr("topology.distribution, found 'epsilom'"));
  EXPECT_THAT(message, ::testing::HasSubstr("did you mean 'epsilon'"));
  EXPECT_THROW(draw_topology({.distribution = "epsilom"}, 3, 4, 5, 1, 0), Error);
}

TEST(LayerBudgets, RefuseANetworkWithoutALayerAndLayersWithoutNeurons) {
  for (const DistributionInfo& distribution : distributions()) {
    const TopologyOptions options{.distribution = std::string(distribution.name)};
    for (const Sizes& sizes : {Sizes{}, Sizes{5}, Sizes{5, 0}, Sizes{-1, 5}})
      EXPECT_THROW(layer_budgets(options, sizes), std::invalid_argument) << distribution.name;
  }
}

class EveryDistribution : public ::testing::TestWithParam<DistributionInfo> {};

TEST_P(EveryDistribution, IsDrawnWithItsBudgetAsAFunctionOfSeedAndLayer) {
  const TopologyOptions options{
      .distribution = std::string(GetParam().name), .fan_in = 7, .budgets = {900, 400, 90}};
  const Sizes sizes{60, 50, 30, 5};
  const Budgets budgets = layer_budgets(options, sizes);
  for (std::size_t l = 0; l < budgets.size(); ++l) {
    const auto draw = [&](std::uint64_t seed, std::uint32_t layer) {
      return draw_topology(options, sizes[l + 1], sizes[l], budgets[l], seed, layer);
    };
    const Topology t = draw(7, 1);
    EXPECT_EQ(t.rows(), sizes[l + 1]);
    EXPECT_EQ(t.cols(), sizes[l]);
    if (GetParam().exact) {
      EXPECT_EQ(t.nnz(), budgets[l]);
    }
    EXPECT_EQ(draw(7, 1), t);
    if (budgets[l] == cells(sizes, l)) continue;
    EXPECT_NE(draw(8, 1), t);
    EXPECT_NE(draw(7, 2), t);
    if (GetParam().name != "fixed-fan-in") continue;
    for (std::int32_t r = 0; r < t.rows(); ++r)
      EXPECT_EQ(static_cast<std::int64_t>(t.row(r).size()), std::min(7, sizes[l]));
  }
}

INSTANTIATE_TEST_SUITE_P(Distributions, EveryDistribution,
                         ::testing::ValuesIn(distributions().begin(), distributions().end()),
                         [](const auto& info) {
                           std::string name(info.param.name);
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(ErVariants, ExpectTheConnectionsOfTheirLaws) {
  const Sizes sizes{784, 1000, 1000, 10};
  EXPECT_EQ(layer_budgets({.distribution = "er-bernoulli", .epsilon = 20}, sizes),
            (Budgets{35680, 40000, 10000}));
  // N (1 - (1 - 1/N)^k) with N = 784,000 and k = 35,680; N = 10^6, k = 40,000; N = 10,000, k = 20,200.
  EXPECT_EQ(layer_budgets({.distribution = "er-replace", .epsilon = 20.9}, sizes),
            (Budgets{34880, 39210, 8673}));
  EXPECT_THAT(refusal({.distribution = "er-replace", .epsilon = 0.5}, sizes),
              ::testing::HasSubstr("topology.epsilon, found 0.5, expected 1 or more"));
  // A layer whose every cell is certain is dense; one whose cells are only nearly so is not.
  EXPECT_EQ(layer_budgets({.distribution = "er-bernoulli", .epsilon = 5}, Sizes{10, 10}), Budgets{100});
  EXPECT_EQ(layer_budgets({.distribution = "er-bernoulli", .epsilon = 4.99}, Sizes{10, 10}), Budgets{99});
}

TEST(Patterns, LayOutTheBudgetOfADistributionAndAreRefusedByThoseThatDrawThemselves) {
  const TopologyOptions blocks{.distribution = "erk", .density = 0.2, .pattern = "block"};
  const Sizes sizes{64, 48, 10};
  const Budgets budgets = layer_budgets(blocks, sizes);
  const Topology t = draw_topology(blocks, 48, 64, budgets[0], 1, 0);
  EXPECT_EQ(t.nnz(), budgets[0]);
  EXPECT_NE(t, draw_topology({.distribution = "erk", .density = 0.2}, 48, 64, budgets[0], 1, 0));
  for (const char* distribution : {"fixed-fan-in", "er-bernoulli", "er-replace"})
    EXPECT_THAT(refusal({.distribution = distribution, .pattern = "block"}, sizes),
                ::testing::HasSubstr("topology.pattern, found 'block', expected 'random'"));
}

TEST(Windows, HoldTheBudgetOfADistributionAndAreRefusedByWhatLaysOutItsOwn) {
  const TopologyOptions options{.epsilon = 3, .window = {.width = 20, .share = 1.0}};
  const Sizes sizes{400, 300, 10};
  const Budgets budgets = layer_budgets(options, sizes);
  const Topology t = draw_topology(options, 300, 400, budgets[0], 1, 0);
  EXPECT_EQ(t.nnz(), budgets[0]);
  for (std::int32_t target = 0; target < 300; ++target)
    for (const std::int32_t source : t.row(target)) {
      const std::int32_t away = std::abs(source - target * 400 / 300);
      ASSERT_LE(std::min(away, 400 - away), 10) << target;
    }
  for (const char* distribution : {"fixed-fan-in", "er-bernoulli", "er-replace"})
    EXPECT_THAT(refusal({.distribution = distribution, .window = {.width = 20}}, sizes),
                ::testing::HasSubstr(std::string("topology.window, found 20, expected 0 with "
                                                 "topology.distribution = \"") +
                                     distribution));
  EXPECT_THAT(
      refusal({.pattern = "block", .window = {.width = 20}}, sizes),
      ::testing::HasSubstr("topology.window, found 20, expected 0 with topology.pattern = \"block\""));
}

TEST(DenseLayers, GetEveryConnectionAndErkGivesTheRestToTheOthers) {
  const std::vector<std::int32_t> sizes{100, 200, 50, 10};
  EXPECT_EQ(layer_budgets({.distribution = "epsilon", .epsilon = 2, .dense_layers = {-1}}, sizes),
            (std::vector<std::int64_t>{600, 500, 500}));
  const auto erk = layer_budgets({.distribution = "erk", .density = 0.1, .dense_layers = {2}}, sizes);
  EXPECT_EQ(erk[2], 500);
  EXPECT_EQ(erk[0] + erk[1] + erk[2], 3050);  // 10 % of 30,500
  EXPECT_NEAR(static_cast<double>(erk[0]) / static_cast<double>(erk[1]), 300.0 / 250.0, 0.01);
}

TEST(DenseLayers, ThatCannotBeAreRefused) {
  const std::vector<std::int32_t> sizes{100, 200, 50, 10};
  for (const std::int64_t layer : {3, -4})
    EXPECT_THROW(layer_budgets({.distribution = "epsilon", .dense_layers = {layer}}, sizes), Error) << layer;
  EXPECT_THROW(layer_budgets({.distribution = "erk", .density = 0.1, .dense_layers = {0}}, sizes), Error);
}

}  // namespace
}  // namespace tulle
