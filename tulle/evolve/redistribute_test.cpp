#include "tulle/evolve/redistribute.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

namespace tulle {
namespace {

using Shares = std::vector<std::int64_t>;

Shares shares(std::int64_t total, const std::vector<double>& weights, const Shares& room) {
  return shared_out(total, weights, room);
}

TEST(SharedOut, GoesByWeightAndOverflowsToTheOthers) {
  EXPECT_EQ(shares(10, {1, 1}, {100, 100}), (Shares{5, 5}));
  EXPECT_EQ(shares(10, {3, 1}, {100, 100}), (Shares{8, 2}));  // 7.5 and 2.5: one each is left to the heavier
  EXPECT_EQ(shares(10, {3, 1}, {4, 100}), (Shares{4, 6}));
  EXPECT_EQ(shares(10, {0, 0}, {100, 100}), (Shares{5, 5}));
  EXPECT_EQ(shares(10, {0, 1}, {100, 4}), (Shares{6, 4}));
  EXPECT_EQ(shares(10, {1, 1}, {3, 4}), (Shares{3, 4}));
  EXPECT_EQ(shares(0, {1, 1}, {3, 4}), (Shares{0, 0}));
}

TEST(SharedOut, SumsToTheTotalAndKeepsToTheRoomWhateverTheWeights) {
  std::mt19937_64 dice(1);
  for (int trial = 0; trial < 3000; ++trial) {
    const std::size_t layers = 1 + dice() % 5;
    std::vector<double> weights;
    Shares room;
    for (std::size_t l = 0; l < layers; ++l) {
      weights.push_back(dice() % 3 == 0 ? 0.0 : static_cast<double>(dice() % 1000) * 1e-3);
      room.push_back(static_cast<std::int64_t>(dice() % 50));
    }
    const auto total = static_cast<std::int64_t>(dice() % 120);
    const Shares found = shares(total, weights, room);
    for (std::size_t l = 0; l < layers; ++l) {
      EXPECT_GE(found[l], 0);
      EXPECT_LE(found[l], room[l]);
    }
    EXPECT_EQ(std::accumulate(found.begin(), found.end(), std::int64_t{0}),
              std::min(total, std::accumulate(room.begin(), room.end(), std::int64_t{0})));
  }
}

}  // namespace
}  // namespace tulle
