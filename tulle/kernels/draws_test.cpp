#include "tulle/kernels/draws.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "tulle/kernels/test_problem.h"

namespace tulle::kernels {
namespace {

class Draws : public EveryTarget {};

TEST_P(Draws, NumbersAreThoseThatEachPlaceGivesAlone) {
  Dice dice;
  for (const std::int64_t count : {0, 1, 7, 16, 63, 64, 65, 200}) {
    const Random random{.seed = dice.below(~0ull), .stream = Stream::kGrowValue, .layer = 3, .event = 70000};
    std::vector<std::uint64_t> places;
    for (std::int64_t i = 0; i < count; ++i) places.push_back(dice.below(~0ull));
    Guarded<float> numbers(count);
    draw_uniform(random, places.data(), count, numbers.data());
    Guarded<std::uint64_t> bits(count);
    draw_bits(random, places.data(), count, bits.data());
    for (std::size_t i = 0; i < places.size(); ++i) {
      ASSERT_EQ(numbers[i], random.uniform(places[i])) << i << " of " << count;
      ASSERT_EQ(bits[i], random.bits64(places[i])) << i << " of " << count;
    }
    EXPECT_TRUE(numbers.guards_intact() && bits.guards_intact());
  }
}

// One value, as the header of sampling.h describes it.
std::uint64_t one(const Feistel& network, std::uint64_t value) {
  const auto mix = [](std::uint32_t x) {
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x ^ x >> 16;
  };
  const std::uint64_t left_mask = (std::uint64_t{1} << network.left_bits) - 1,
                      right_mask = (std::uint64_t{1} << network.right_bits) - 1;
  std::uint64_t left = value >> network.right_bits, right = value & right_mask;
  for (std::size_t round = 0; round < 8; round += 2) {
    left ^= mix(static_cast<std::uint32_t>(right) ^ network.keys[round]) & left_mask;
    right ^= mix(static_cast<std::uint32_t>(left) + network.keys[round + 1]) & right_mask;
  }
  return left << network.right_bits | right;
}

TEST_P(Draws, AFeistelNetworkTakesEachValueAsIfItWereAlone) {
  Dice dice;
  for (const int bits : {16, 17, 45, 64})
    for (const std::int64_t count : {0, 1, 63, 64, 65, 200}) {
      Feistel network{.left_bits = bits / 2, .right_bits = bits - bits / 2};
      for (std::uint32_t& key : network.keys) key = static_cast<std::uint32_t>(dice.below(1ull << 32));
      Guarded<std::uint64_t> values(count);
      std::vector<std::uint64_t> expected;
      for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
        values[i] = dice.below(~0ull) >> (64 - bits);
        expected.push_back(one(network, values[i]));
      }
      feistel(network, values.data(), count);
      EXPECT_TRUE(std::equal(expected.begin(), expected.end(), values.data())) << bits << " bits, " << count;
      EXPECT_TRUE(values.guards_intact());
    }
}

TEST_P(Draws, AFeistelNetworkMapsNoTwoValuesToTheSame) {
  std::vector<std::uint64_t> values(1 << 11);
  std::iota(values.begin(), values.end(), std::uint64_t{0});
  const std::vector<std::uint64_t> all = values;
  feistel({.left_bits = 5, .right_bits = 6, .keys = {1, 2, 3, 4, 5, 6, 7, 8}}, values.data(),
          std::ssize(values));
  EXPECT_NE(values, all);
  std::ranges::sort(values);
  EXPECT_EQ(values, all);
}

INSTANTIATE_TEST_SUITE_P(Targets, Draws, ::testing::ValuesIn(available_targets()), target_name);

}  // namespace
}  // namespace tulle::kernels
