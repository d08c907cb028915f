#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tulle/evolve/test_layer.h"

namespace tulle {
namespace {

std::vector<int> marked(std::string_view rule, const DropInput& input, std::int64_t min_fan_in = 0) {
  std::vector<int> places;
  const std::vector<std::uint8_t> marks = marks_of(find_name(drop_rules(), "test", rule), input, min_fan_in);
  for (std::size_t k = 0; k < marks.size(); ++k)
    if (marks[k] != 0) places.push_back(static_cast<int>(k));
  return places;
}

using Places = std::vector<int>;

TEST(Magnitude, DropsTheWeakestOfEitherSignTiesByPosition) {
  const TestLayer layer = layer_of({-3, 0.5f, -1, 0, 3, -0.5f, 9, -4, 7, 1});
  const DropInput input{.topology = layer.topology, .weights = layer.weights, .zeta = 0.39};
  EXPECT_EQ(marked("magnitude", input), (Places{1, 3, 5}));  // floor(0.39 * 10)
}

TEST(Mest, SparesWeakWeightsWithALargeGradient) {
  const TestLayer layer = layer_of({1, 2, 3, 4});
  const std::vector<float> gradients{-50, 0, 0, 0};
  DropInput input{.topology = layer.topology, .weights = layer.weights, .gradients = gradients, .zeta = 0.25};
  input.learning_rate = 0.01;
  EXPECT_EQ(marked("mest", input), (Places{0}));  // 1 + 0.01 * 50 = 1.5 < 2
  input.mest_gamma = 0.1;
  EXPECT_EQ(marked("mest", input), (Places{1}));  // 6 > 2
}

TEST(Momentum, DropsWhatIsAboutToChangeItsSignFirst) {
  const TestLayer layer = layer_of({0.1f, 5, -6, 0.2f, -0.3f, 7});
  const std::vector<float> pending{0.5f, -5.5f, 6.5f, -0.1f, -1, 0};
  DropInput input{.topology = layer.topology, .weights = layer.weights, .pending = pending, .zeta = 0.17};
  EXPECT_EQ(marked("momentum", input), (Places{1}));
  input.zeta = 0.34;
  EXPECT_EQ(marked("momentum", input), (Places{1, 2}));
  input.zeta = 0.67;  // no more of those: then the weakest
  EXPECT_EQ(marked("momentum", input), (Places{0, 1, 2, 3}));
}

TEST(Relative, CountsAWeightAgainstItsNeighbours) {
  // Targets 0: 100, 50; 1: 1, 2 from sources 0 and 1.
  const TestLayer layer{full_topology(2, 2), {100, 50, 1, 2}};
  std::vector<float> scores(4);
  const DropInfo& rule = find_name(drop_rules(), "test", "relative");
  rule.score({.topology = layer.topology, .weights = layer.weights}, scores);
  EXPECT_NEAR(scores[0], 100.0 / 150 + 100.0 / 101, 1e-6);
  EXPECT_NEAR(scores[1], 50.0 / 150 + 50.0 / 52, 1e-6);
  EXPECT_NEAR(scores[2], 1.0 / 3 + 1.0 / 101, 1e-6);
  EXPECT_NEAR(scores[3], 2.0 / 3 + 2.0 / 52, 1e-6);
  const TestLayer zeros{full_topology(2, 2), {0, 0, 0, 0}};
  rule.score({.topology = zeros.topology, .weights = zeros.weights}, scores);
  EXPECT_EQ(scores, std::vector<float>(4, 0.0f));
}

TEST(Threshold, DropsWhatIsWeakerAndAtMostTheShare) {
  const TestLayer layer = layer_of({0.5f, -0.001f, 0.01f, -3, 0, 0.002f});
  DropInput input{.topology = layer.topology, .weights = layer.weights, .zeta = 1.0, .threshold = 0.01};
  EXPECT_EQ(marked("threshold", input), (Places{1, 4, 5}));
  input.zeta = 0.34;
  EXPECT_EQ(marked("threshold", input), (Places{1, 4}));
  input.threshold = 0.0;
  EXPECT_EQ(marked("threshold", input), (Places{}));
}

TEST(MagnitudeSoft, PrefersWeakWeightsByTheirProbability) {
  // One of two goes. With rates 1 / |w|^beta the weaker goes first with probability w2 / (w1 + w2).
  const TestLayer layer = layer_of({1, 3});
  for (const double beta : {1.0, 2.0}) {
    int weaker = 0;
    constexpr int kTrials = 20'000;
    for (std::uint32_t event = 0; event < kTrials; ++event) {
      DropInput input{.topology = layer.topology, .weights = layer.weights, .zeta = 0.5, .soft_beta = beta};
      input.random = {.seed = 1, .stream = Stream::kDrop, .layer = 0, .event = event};
      weaker += marked("magnitude-soft", input) == Places{0} ? 1 : 0;
    }
    const double ratio = std::pow(3.0, beta), wanted = ratio / (1.0 + ratio);
    EXPECT_NEAR(weaker / static_cast<double>(kTrials), wanted, 5 * std::sqrt(wanted * (1 - wanted) / kTrials))
        << beta;
  }
}

TEST(MinFanIn, SparesTheLargestWeightsOfEveryTarget) {
  Dice dice;
  for (const DropInfo& rule : drop_rules()) {
    for (int trial = 0; trial < 50; ++trial) {
      const TestLayer layer = make_layer(6, 8, 30, dice);
      const TestSignals signals(layer.topology, dice.below(1000));
      const auto marks = marks_of(rule, signals.drop_input(layer, 1.0), 2);
      std::size_t k = 0;
      for (std::int32_t target = 0; target < 6; ++target) {
        const std::size_t degree = layer.topology.row(target).size();
        float weakest_kept = INFINITY, strongest_marked = 0;
        std::size_t kept = 0;
        for (std::size_t i = 0; i < degree; ++i, ++k) {
          const float w = std::abs(layer.weights[k]);
          if (marks[k] == 0)
            weakest_kept = std::min(weakest_kept, w), ++kept;
          else
            strongest_marked = std::max(strongest_marked, w);
        }
        ASSERT_GE(kept, std::min<std::size_t>(degree, 2)) << rule.name;
        if (rule.name == "magnitude") {
          ASSERT_GE(weakest_kept, strongest_marked);
        }
      }
    }
  }
}

}  // namespace
}  // namespace tulle
