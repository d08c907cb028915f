#include "tulle/kernels/rounding.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "tulle/base/half.h"
#include "tulle/base/random.h"
#include "tulle/kernels/test_problem.h"

namespace tulle::kernels {
namespace {

class Rounding : public EveryTarget {};

// By one connection: up if the lower half of the float is more than what is drawn leaves.
std::uint16_t rounded(float value, std::uint32_t draw) {
  return static_cast<std::uint16_t>((std::bit_cast<std::uint32_t>(value) + draw) >> 16);
}

TEST_P(Rounding, EveryNumberGoesWhereTheDrawOfItsConnectionSays) {
  Dice dice;
  for (const std::int64_t count : {0, 1, 7, 8, 15, 16, 17, 100})
    for (const bool with_momentum : {false, true}) {
      const RoundingPlace place{.seed = dice.below(~0ull), .layer = 3, .step = 70000};
      constexpr std::int32_t kFirstRow = 2'000'000'000;
      std::vector<std::int32_t> rows, columns;
      Guarded<float> value(count), momentum(count);
      Guarded<std::uint16_t> new_value(count), new_momentum(count, 7);
      for (std::int64_t k = 0; k < count; ++k) {
        rows.push_back(static_cast<std::int32_t>(dice.below(1000)));
        columns.push_back(static_cast<std::int32_t>(dice.below(2'147'000'000)));
        value[static_cast<std::size_t>(k)] = dice.value();
        momentum[static_cast<std::size_t>(k)] = 1e-6f * dice.value();
      }
      round_stochastically(place, kFirstRow, rows.data(), columns.data(), count, value.data(),
                           with_momentum ? momentum.data() : nullptr, new_value.data(),
                           with_momentum ? new_momentum.data() : nullptr);
      const Random random{
          .seed = place.seed, .stream = Stream::kRounding, .layer = place.layer, .event = place.step};
      for (std::size_t k = 0; k < rows.size(); ++k) {
        const auto target = static_cast<std::uint64_t>(kFirstRow) + static_cast<std::uint64_t>(rows[k]);
        const std::uint32_t word = random.words(target << 32 | static_cast<std::uint64_t>(columns[k]))[0];
        ASSERT_EQ(new_value[k], rounded(value[k], word & 0xffff)) << k << " of " << count;
        ASSERT_EQ(new_momentum[k], with_momentum ? rounded(momentum[k], word >> 16) : 7) << k;
      }
      EXPECT_TRUE(new_value.guards_intact() && new_momentum.guards_intact());
    }
}

TEST_P(Rounding, LosesNothingOnAverage) {
  // A hundredth and nine tenths of the way from one number to the next, of either sign, and one that is
  // there.
  const std::vector<float> numbers{1.0f + 0x1p-7f * 0.01f, -3.0f - 0x1p-6f * 0.9f, 1e-30f, 0.75f};
  const std::vector<std::int32_t> rows{0, 1, 2, 3}, columns{5, 5, 6, 7};
  constexpr int kSteps = 100'000;
  std::vector<double> sums(numbers.size(), 0.0);
  for (std::uint32_t step = 0; step < kSteps; ++step) {
    std::uint16_t bits[4], unused[4];
    round_stochastically({.seed = Dice::seed(), .step = step}, 0, rows.data(), columns.data(), 4,
                         numbers.data(), numbers.data(), bits, unused);
    for (std::size_t i = 0; i < numbers.size(); ++i) sums[i] += double{bf16_to_float(bits[i])};
  }
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const double gap =
        std::abs(double{numbers[i]}) * 0x1p-7;  // at most, and a draw's deviation is half of it
    EXPECT_NEAR(sums[i] / kSteps, double{numbers[i]}, i == 3 ? 0.0 : 4 * 0.5 * gap / std::sqrt(kSteps));
  }
}

TEST_P(Rounding, KeepsInfinityNaNAndTheLargestNumbers) {
  const float largest = std::numeric_limits<float>::max();
  const std::vector<float> numbers{INFINITY, -INFINITY, NAN,
                                   largest,  -largest,  std::bit_cast<float>(0x7f800001u)};
  const std::vector<std::int32_t> places(numbers.size(), 1);
  for (std::uint32_t step = 0; step < 100; ++step) {
    std::vector<std::uint16_t> bits(numbers.size()), unused(numbers.size());
    round_stochastically({.step = step}, 0, places.data(), places.data(), std::ssize(numbers), numbers.data(),
                         nullptr, bits.data(), unused.data());
    EXPECT_EQ(bf16_to_float(bits[0]), INFINITY);
    EXPECT_EQ(bf16_to_float(bits[1]), -INFINITY);
    EXPECT_TRUE(std::isnan(bf16_to_float(bits[2])) && std::isnan(bf16_to_float(bits[5])));
    EXPECT_EQ(bits[3], 0x7f7f);
    EXPECT_EQ(bits[4], 0xff7f);
  }
}

TEST_P(Rounding, WidensEveryBfloat16Exactly) {
  for (const std::int64_t count : {0, 1, 15, 16, 17, 65536}) {
    std::vector<std::uint16_t> bits;
    for (std::int64_t k = 0; k < count; ++k) bits.push_back(static_cast<std::uint16_t>(k * 31));
    Guarded<float> numbers(count);
    widen(bits.data(), count, numbers.data());
    for (std::size_t k = 0; k < bits.size(); ++k)
      ASSERT_EQ(std::bit_cast<std::uint32_t>(numbers[k]), static_cast<std::uint32_t>(bits[k]) << 16);
    EXPECT_TRUE(numbers.guards_intact());
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, Rounding, ::testing::ValuesIn(available_targets()), target_name);

}  // namespace
}  // namespace tulle::kernels
