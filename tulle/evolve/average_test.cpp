#include "tulle/evolve/average.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "tulle/base/random.h"
#include "tulle/sparse/sampling.h"

namespace tulle::testing {
namespace {

using ::testing::ElementsAre;

LayerWeights replica(std::uint64_t seed, std::int32_t rows = 30, std::int32_t cols = 20) {
  const Random random{.seed = seed};
  std::vector<std::uint64_t> keys;
  for (std::uint64_t key = 0; key < static_cast<std::uint64_t>(rows * cols); ++key)
    if (random.uniform(key) < 0.3f) keys.push_back(key);
  LayerWeights weights{Topology::from_keys(rows, cols, keys), {}};
  for (const std::uint64_t key : keys) weights.values.push_back(random.normal(100'000 + key));
  return weights;
}

std::vector<double> dense(const LayerWeights& weights) {
  std::vector<double> cells(weights.topology.cells(), 0.0);
  std::size_t k = 0;
  for (const std::uint64_t key : weights.topology.keys()) cells[key] = weights.values[k++];
  return cells;
}

TEST(Average, OnTheUnionIsTheAverageOfTheDenseLayers) {
  for (const std::size_t count : {1u, 2u, 3u, 5u}) {
    std::vector<LayerWeights> replicas;
    std::vector<double> wanted(600, 0.0);
    std::vector<bool> in_union(600, false);
    for (std::size_t r = 0; r < count; ++r) {
      replicas.push_back(replica(r + 1));
      const std::vector<double> cells = dense(replicas.back());
      for (std::size_t c = 0; c < cells.size(); ++c) wanted[c] += cells[c] / static_cast<double>(count);
      for (const std::uint64_t key : replicas.back().topology.keys()) in_union[key] = true;
    }
    const LayerWeights mean = average(replicas);
    EXPECT_EQ(mean.topology.nnz(), std::count(in_union.begin(), in_union.end(), true));
    const std::vector<double> cells = dense(mean);
    for (std::size_t c = 0; c < cells.size(); ++c) EXPECT_NEAR(cells[c], wanted[c], 1e-7) << c;
  }
}

TEST(Average, OfEqualReplicasIsTheReplicaBitForBit) {
  for (const std::size_t count : {2u, 3u, 6u, 7u, 10u, 49u}) {
    const LayerWeights one = replica(9);
    const LayerWeights mean = average(std::vector<LayerWeights>(count, one));
    EXPECT_EQ(mean.topology, one.topology);
    EXPECT_EQ(mean.values, one.values) << count;
    EXPECT_EQ(average(std::vector<std::vector<float>>(count, one.values)), one.values);
  }
}

TEST(Resparsified, HasExactlyTheConnectionsAskedForAndTheStrongest) {
  const LayerWeights mean = average(std::vector<LayerWeights>{replica(1), replica(2)});
  for (const std::int64_t wanted :
       {std::int64_t{0}, std::int64_t{1}, std::int64_t{180}, mean.topology.nnz()}) {
    const LayerWeights left = resparsified(mean, wanted, /*published=*/false);
    ASSERT_EQ(left.topology.nnz(), wanted);
    std::vector<float> sizes = mean.values, kept = left.values;
    for (float& size : sizes) size = std::abs(size);
    for (float& size : kept) size = std::abs(size);
    std::ranges::sort(sizes, std::greater());
    std::ranges::sort(kept, std::greater());
    sizes.resize(static_cast<std::size_t>(wanted));
    EXPECT_EQ(kept, sizes);
    const std::vector<double> before = dense(mean), after = dense(left);
    for (std::size_t c = 0; c < before.size(); ++c) EXPECT_TRUE(after[c] == 0.0 || after[c] == before[c]);
  }
}

TEST(Resparsified, TiesGoByPlaceAndNothingGoesIfNothingIsToMuch) {
  const LayerWeights equal{Topology::from_keys(1, 4, std::vector<std::uint64_t>{0, 1, 2, 3}), {1, -1, 1, -1}};
  EXPECT_THAT(resparsified(equal, 2, false).topology.keys(), ElementsAre(2, 3));
  EXPECT_EQ(resparsified(equal, 4, false).topology.nnz(), 4);
}

TEST(Resparsified, AsPublishedLeavesUpToThreeFewer) {
  const LayerWeights mean = average(std::vector<LayerWeights>{replica(1), replica(2)});
  const LayerWeights left = resparsified(mean, 180, /*published=*/true);
  EXPECT_LE(left.topology.nnz(), 180);
  EXPECT_GE(left.topology.nnz(), 177);
}

}  // namespace
}  // namespace tulle::testing
