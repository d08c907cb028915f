#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tulle/evolve/test_layer.h"

namespace tulle {

namespace {

std::vector<bool> dropped(const TestLayer& layer, double zeta) {
  return dropped_by(evolve_layer("set", "random", layer, zeta, 1, 1), layer.weights.size());
}

// The rule by sorting: of each sign the floor(zeta m) weakest, ties by position.
std::vector<bool> weakest_by_sorting(const std::vector<float>& weights, double zeta) {
  std::vector<bool> gone(weights.size(), false);
  for (const bool negative : {false, true}) {
    std::vector<std::size_t> places;
    for (std::size_t k = 0; k < weights.size(); ++k)
      if ((weights[k] < 0) == negative) places.push_back(k);
    std::stable_sort(places.begin(), places.end(), [&](std::size_t a, std::size_t b) {
      return std::abs(weights[a]) < std::abs(weights[b]);
    });
    const double count = std::floor(zeta * static_cast<double>(places.size()));
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) gone[places[i]] = true;
  }
  return gone;
}

TEST(Set, DropsTheWeakestOfEachSignByHand) {
  // Negatives -1, -2, -3, -4: floor(0.5 * 4) = 2 go; non-negatives 0.5, 0, 3, 9, 7: floor(2.5) = 2 go.
  const TestLayer layer = layer_of({-3, 0.5f, -1, 0, 3, -2, 9, -4, 7});
  const std::vector<bool> wanted{false, true, true, true, false, true, false, false, false};
  EXPECT_EQ(dropped(layer, 0.5), wanted);
}

TEST(Set, CountsBothZerosAsNonNegative) {
  const std::vector<bool> wanted{true, true, false, false};
  EXPECT_EQ(dropped(layer_of({-0.0f, 0.0f, 1.0f, -1.0f}), 0.7), wanted);
}

TEST(Set, BreaksTiesByPosition) {
  const std::vector<bool> wanted{true, true, false, false};
  EXPECT_EQ(dropped(layer_of({2, 2, 2, 2}), 0.5), wanted);
  EXPECT_EQ(dropped(layer_of({-2, -2, -2, -2}), 0.5), wanted);
}

TEST(Set, EqualsSortingOnRandomLayers) {
  Dice dice;
  for (int trial = 0; trial < 2'000; ++trial) {
    const TestLayer layer = make_layer(6, 10, static_cast<std::int64_t>(dice.below(61)), dice);
    const double zeta = static_cast<double>(dice.below(1001)) / 1000;
    ASSERT_EQ(dropped(layer, zeta), weakest_by_sorting(layer.weights, zeta)) << "zeta " << zeta;
  }
}

TEST(Set, DoesNothingAtZetaZero) {
  Dice dice;
  const TestLayer layer = make_layer(10, 10, 50, dice);
  const TopologyUpdate update = evolve_layer("set", "random", layer, 0.0, 1, 1);
  EXPECT_EQ(update.topology, layer.topology);
  EXPECT_EQ(update.grown(), 0);
}

TEST(Set, RenewsAllAtZetaOne) {
  Dice dice;
  const TestLayer layer = make_layer(10, 10, 50, dice);
  EXPECT_EQ(evolve_layer("set", "random", layer, 1.0, 1, 1).grown(), 50);
}

TEST(Set, KeepsNanAsTheStrongest) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<bool> wanted{false, true, true, false};
  EXPECT_EQ(dropped(layer_of({kNan, 1, 2, kNan}), 0.5), wanted);
}

}  // namespace
}  // namespace tulle
