#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "tulle/evolve/rule.h"
#include "tulle/sparse/sampling.h"
#include "tulle/sparse/test_statistics.h"

namespace tulle {
namespace {

// Old positions that a rule dropped from one row of `weights.size()` connections among ten times as many
// cells.
std::vector<std::int64_t> dropped_by(const TopologyRule& rule, const std::vector<float>& weights) {
  const auto m = static_cast<std::int32_t>(weights.size());
  std::vector<std::int32_t> columns(weights.size());
  std::iota(columns.begin(), columns.end(), 0);
  const Topology topology(1, 10 * std::max(m, 1), {0, m}, columns);
  const TopologyUpdate update =
      rule.evolve({.topology = topology, .weights = weights, .grow = {.seed = 1, .stream = Stream::kGrow}});
  std::vector<std::int64_t> dropped;
  for (std::int64_t k = 0; k < m; ++k)
    if (std::count(update.source.begin(), update.source.end(), k) == 0) dropped.push_back(k);
  return dropped;
}

using Positions = std::vector<std::int64_t>;

TEST(Set, DropsTheWeakestOfEachSignByExactCount) {
  //                                  0      1      2     3     4     5      6     7
  const std::vector<float> weights{-0.5f, -0.1f, -0.9f, 0.2f, 0.8f, 0.05f, 0.3f, -0.2f};
  EXPECT_EQ(dropped_by(*make_set({.zeta = 0.5}), weights), (Positions{1, 3, 5, 7}));
  EXPECT_EQ(dropped_by(*make_set({.zeta = 0.25}), weights), (Positions{1, 5}));
  EXPECT_EQ(dropped_by(*make_set({.zeta = 0.24}), weights), Positions{}) << "floor(0.96) is none";
}

TEST(Set, DropsTheFirstOfEquals) {
  EXPECT_EQ(dropped_by(*make_set({.zeta = 0.5}), {0.5f, 0.5f, 0.5f, 0.5f}), (Positions{0, 1}));
  EXPECT_EQ(dropped_by(*make_set({.zeta = 0.5}), {0.0f, -0.0f, 0.0f, -0.0f}), (Positions{0, 1}))
      << "both zeros are non-negative";
}

TEST(Set, WithZetaZeroChangesNothingAndWithOneRenewsAll) {
  const std::vector<float> weights{-0.5f, 0.1f, 0.9f};
  EXPECT_EQ(dropped_by(*make_set({.zeta = 0.0}), weights), Positions{});
  EXPECT_EQ(dropped_by(*make_set({.zeta = 1.0}), weights), (Positions{0, 1, 2}));
}

TEST(Set, AcceptsALayerWithoutConnections) {
  EXPECT_EQ(dropped_by(*make_set({.zeta = 0.5}), {}), Positions{});
}

// The published rule as a sort, word for word (truly sparse training, arXiv 2102.01732, its code).
Positions published_by_sorting(const std::vector<float>& weights, double zeta) {
  std::vector<float> v = weights;
  std::sort(v.begin(), v.end());
  const auto m = static_cast<std::int64_t>(v.size());
  std::int64_t first = 0, end = 0;
  float smallest = HUGE_VALF;
  for (const float w : v) smallest = std::min(smallest, std::abs(w));
  for (std::int64_t k = m; k-- > 0;)
    if (std::abs(v[static_cast<std::size_t>(k)]) == smallest) first = k;
  for (std::int64_t k = 0; k < m; ++k)
    if (std::abs(v[static_cast<std::size_t>(k)]) == smallest) end = k + 1;
  const float low = v[static_cast<std::size_t>((1.0 - zeta) * static_cast<double>(first))];
  const float high = v[static_cast<std::size_t>(std::min<std::int64_t>(
      m - 1, static_cast<std::int64_t>(static_cast<double>(end) + zeta * static_cast<double>(m - end))))];
  Positions dropped;
  for (std::int64_t k = 0; k < m; ++k) {
    const float w = weights[static_cast<std::size_t>(k)];
    if (!(w > high || w < low)) dropped.push_back(k);
  }
  return dropped;
}

TEST(SetPublished, DropsWhatTheSortedThresholdsSay) {
  SCOPED_TRACE(seed_note());
  std::mt19937_64 random(test_seed());
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<std::vector<float>> cases{
      {0.5f},    {-0.5f},    {0.0f},    {0.5f, -0.5f}, {0.1f, 0.2f},   {-0.1f, -0.2f}, {-3, -2, -1},
      {1, 2, 3}, {-1, 1, 1}, {0, 0, 0}, {-2, 0, 2},    {-1, -1, 1, 1}, {2, 2, 2, 2},   {-0.0f, 0.0f, 1}};
  for (int trial = 0; trial < 300; ++trial) {
    std::vector<float> weights(1 + random() % 60);
    for (float& w : weights) {
      w = uniform(random);
      if (trial % 5 == 1) w = std::abs(w);
      if (trial % 5 == 2) w = -std::abs(w);
      if (trial % 5 == 3) w = std::round(4 * w) / 4;  // ties and zeros
    }
    cases.push_back(weights);
  }
  for (const auto& weights : cases)
    for (const double zeta : {0.0, 0.1, 0.3, 0.5, 1.0})
      ASSERT_EQ(dropped_by(*make_set_published({.zeta = zeta}), weights), published_by_sorting(weights, zeta))
          << testing::PrintToString(weights) << ", zeta " << zeta;
}

TEST(SetPublished, ReplacesUpToThreeMoreThanTheShareOfDistinctMagnitudes) {
  std::mt19937_64 random(test_seed());
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<float> weights(static_cast<std::size_t>(2 + random() % 500));
    for (std::size_t k = 0; k < weights.size(); ++k)
      weights[k] = (random() % 2 == 0 ? 1.0f : -1.0f) * static_cast<float>(k + 1);
    const double share = 0.3 * static_cast<double>(weights.size());
    const auto dropped = static_cast<double>(dropped_by(*make_set_published({.zeta = 0.3}), weights).size());
    ASSERT_GE(dropped, share - 1e-9) << seed_note();
    ASSERT_LE(dropped, share + 3 + 1e-9) << seed_note();
  }
}

TEST(SetPublished, AcceptsALayerWithoutConnections) {
  EXPECT_EQ(dropped_by(*make_set_published({.zeta = 0.5}), {}), Positions{});
}

}  // namespace
}  // namespace tulle
