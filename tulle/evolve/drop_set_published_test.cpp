#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tulle/evolve/test_layer.h"

namespace tulle {

namespace {

std::vector<bool> dropped(const std::vector<float>& weights, double zeta) {
  const TestLayer layer = layer_of(weights);
  return dropped_by(evolve_layer("set-published", "random", layer, zeta, 1, 1), weights.size());
}

std::int64_t count_dropped(const std::vector<float>& weights, double zeta) {
  const std::vector<bool> gone = dropped(weights, zeta);
  return std::count(gone.begin(), gone.end(), true);
}

// The published formula as it is written: sort, look for the smallest magnitude from the left and from the
// right, read off two thresholds, compare strictly.
std::vector<bool> by_published_formula(const std::vector<float>& weights, double zeta) {
  if (weights.empty()) return {};
  std::vector<float> v = weights;
  std::sort(v.begin(), v.end());
  const std::size_t m = v.size();
  float smallest = std::abs(v[0]);
  for (const float w : v) smallest = std::min(smallest, std::abs(w));
  std::size_t first = 0, end = m;
  while (std::abs(v[first]) != smallest) ++first;
  while (std::abs(v[end - 1]) != smallest) --end;
  const auto low = static_cast<std::size_t>((1.0 - zeta) * static_cast<double>(first));
  const double above = static_cast<double>(end) + zeta * static_cast<double>(m - end);
  const auto high = static_cast<std::size_t>(std::min(static_cast<double>(m - 1), above));
  std::vector<bool> gone;
  for (const float w : weights) gone.push_back(!(w > v[high] || w < v[low]));
  return gone;
}

enum class Signs { kAny, kPositive, kNegative, kTied, kSparseZeros };

std::vector<float> random_weights(Signs signs, std::size_t m, Dice& dice) {
  std::vector<float> weights;
  while (weights.size() < m) {
    const float w = dice.value();
    switch (signs) {
      case Signs::kAny:
        weights.push_back(w);
        break;
      case Signs::kPositive:
        weights.push_back(std::abs(w) + 1e-6f);
        break;
      case Signs::kNegative:
        weights.push_back(-std::abs(w) - 1e-6f);
        break;
      case Signs::kTied:
        weights.push_back(std::round(3 * w) + 0.5f);
        break;  // -2.5 ... 3.5, both of +-0.5
      case Signs::kSparseZeros:
        weights.push_back(dice.below(3) != 0 ? w : dice.below(2) != 0 ? 0.0f : -0.0f);
    }
  }
  return weights;
}

TEST(SetPublished, FollowsItsFormulaByHand) {
  // Sorted: -4 -3 -2 -1 | 0.5 | 1 2 3 4 5; first = 4, end = 5. zeta 0.5: T_neg = v[2] = -2,
  // T_pos = v[floor(5 + 2.5)] = v[7] = 3. Gone: -2, -1, 0.5, 1, 2, 3.
  const std::vector<bool> wanted{false, true, true, true, false, true, true, true, false, false};
  EXPECT_EQ(dropped({-4, -2, -1, 0.5f, -3, 1, 2, 3, 4, 5}, 0.5), wanted);
}

TEST(SetPublished, SpansBothSignsOfTheSmallestMagnitude) {
  // Sorted: -2 -1 -1 1 1 2; first = 1, end = 5. zeta 0: T_neg = v[1] = -1, T_pos = v[5] = 2.
  const std::vector<bool> wanted{false, true, true, true, true, true};
  EXPECT_EQ(dropped({-2, -1, -1, 1, 1, 2}, 0.0), wanted);
}

TEST(SetPublished, EqualsASortOnRandomTiedOneSidedAndZeroWeights) {
  Dice dice;
  for (const Signs signs :
       {Signs::kAny, Signs::kPositive, Signs::kNegative, Signs::kTied, Signs::kSparseZeros})
    for (const double zeta : {0.0, 0.1, 0.3, 0.5, 0.99, 1.0})
      for (int trial = 0; trial < 60; ++trial) {
        const std::size_t m = trial < 12 ? static_cast<std::size_t>(trial) / 4 + 1 : dice.below(200) + 1;
        const std::vector<float> weights = random_weights(signs, m, dice);
        ASSERT_EQ(dropped(weights, zeta), by_published_formula(weights, zeta))
            << "signs " << static_cast<int>(signs) << ", zeta " << zeta << ", m " << m;
      }
}

TEST(SetPublished, DropsUpToThreeConnectionsMoreThanTheShareOfDistinctWeights) {
  Dice dice;
  for (const Signs signs : {Signs::kAny, Signs::kPositive, Signs::kNegative})
    for (int trial = 0; trial < 200; ++trial) {
      const std::vector<float> weights = random_weights(signs, dice.below(300) + 1, dice);
      const double zeta = static_cast<double>(dice.below(101)) / 100;
      const auto m = static_cast<double>(weights.size());
      const auto gone = static_cast<double>(count_dropped(weights, zeta));
      EXPECT_GE(gone, std::floor(zeta * m)) << "m " << m << ", zeta " << zeta;
      EXPECT_LE(gone, std::min(m, zeta * m + 3)) << "m " << m << ", zeta " << zeta;
    }
}

TEST(SetPublished, DropsTheThresholdsEvenAtZetaZeroAndEverythingAtZetaOne) {
  const std::vector<float> weights{-3, -2, -1, 1.5f, 2.5f, 3.5f};
  EXPECT_EQ(count_dropped(weights, 0.0), 2);  // -1, the smallest, and 1.5, T_pos = v[3]
  EXPECT_EQ(count_dropped(weights, 1.0), 6);
}

TEST(SetPublished, RenewsTheShareOfLargeLayers) {
  Dice dice;
  const double kept =
      1.0 - static_cast<double>(count_dropped(random_weights(Signs::kAny, 100'000, dice), 0.3)) / 1e5;
  EXPECT_NEAR(kept, 0.7, 1e-4);
}

}  // namespace
}  // namespace tulle
