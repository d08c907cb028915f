#include "tulle/kernels/narrow.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "tulle/kernels/packed_bytes.h"
#include "tulle/kernels/test_problem.h"

namespace tulle::kernels {
namespace {

class Narrow : public EveryTarget {};

// The bfloat16 nearest to v, by search among its neighbours.
float nearest_bf16(float v) {
  if (std::isinf(v)) return v;
  const auto bits = std::bit_cast<std::uint32_t>(v);
  const std::uint32_t below = bits & 0xffff0000u, above = below + 0x10000u;  // towards zero, away from it
  const double down = std::abs(double{v} - std::bit_cast<float>(below));
  const float far = std::bit_cast<float>(above);
  const double up = std::isinf(far) ? std::ldexp(1.0, 128) - std::abs(double{v}) : std::abs(double{far} - v);
  if (down != up) return down < up ? std::bit_cast<float>(below) : far;
  return (below >> 16 & 1) == 0 ? std::bit_cast<float>(below) : far;
}

TEST_P(Narrow, RoundsToTheNearestBfloat16WithTiesToEvenAndKeepsNanAndInfinity) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  Dice dice;
  Guarded<float> x(32 * 64);
  for (float& v : x.all()) v = std::ldexp(dice.value(), static_cast<int>(dice.below(250)) - 125);
  const float special[] = {0.0f,
                           -0.0f,
                           kInf,
                           -kInf,
                           1e-41f,
                           -1e-41f,
                           std::numeric_limits<float>::max(),
                           1.0f,
                           std::bit_cast<float>(0x3f808000u),
                           std::bit_cast<float>(0x3f818000u),
                           std::bit_cast<float>(0x3f808001u),
                           std::bit_cast<float>(0x3f817fffu)};
  std::copy(std::begin(special), std::end(special), x.data());
  const std::uint32_t nans[] = {0x7f800001u, 0x7fffffffu, 0xffc00000u, 0xff80ffffu};
  for (std::size_t i = 0; i < 4; ++i) x[100 + i] = std::bit_cast<float>(nans[i]);
  Guarded<Bf16Pair> pairs(static_cast<std::int64_t>(x.size()) / 2);
  narrow(x.data(), static_cast<std::int64_t>(x.size()), pairs.data());
  EXPECT_TRUE(pairs.guards_intact());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::uint32_t pair = pairs[i / 32 * 16 + i % 16];
    const float found = std::bit_cast<float>(i % 32 < 16 ? pair << 16 : pair & 0xffff0000u);
    if (std::isnan(x[i]))
      EXPECT_TRUE(std::isnan(found)) << i;
    else
      EXPECT_EQ(std::bit_cast<std::uint32_t>(found), std::bit_cast<std::uint32_t>(nearest_bf16(x[i])))
          << i << ": " << x[i];
  }
}

TEST_P(Narrow, BytesAreTheNearestOnesCutOffAtTheEndsInTheOrderOfSums) {
  Dice dice;
  constexpr std::int64_t kFeatures = 5;
  const ByteScale scale{.scale = 0.01f, .zero = 100};
  Guarded<float> x(kFeatures * kByteWidth);
  for (float& v : x.all()) v = 2.0f * dice.value();
  x[0] = 1e30f, x[1] = -1e30f, x[2] = std::numeric_limits<float>::quiet_NaN(), x[3] = 0.0f;
  x[4] = -std::numeric_limits<float>::infinity();
  Guarded<std::uint8_t> bytes(kFeatures * kByteWidth);
  narrow_bytes(x.data(), kFeatures, scale, bytes.data());
  EXPECT_TRUE(bytes.guards_intact());
  const auto of_sample = [&](std::size_t f, std::size_t s) {
    return bytes[f * kByteWidth + s / 4 % 4 * 16 + s / 16 * 4 + s % 4];
  };
  EXPECT_EQ(of_sample(0, 0), 255);
  EXPECT_EQ(of_sample(0, 1), 0);
  EXPECT_EQ(of_sample(0, 2), 100);
  EXPECT_EQ(of_sample(0, 3), 100);
  EXPECT_EQ(of_sample(0, 4), 0);
  for (std::size_t f = 0; f < kFeatures; ++f)
    for (std::size_t s = 0; s < kByteWidth; ++s) {
      const float value = x[f * kByteWidth + s];
      if (!(std::abs(value) < 10.0f)) continue;
      const double wanted = std::clamp(double{value} / 0.01 + 100.0, 0.0, 255.0);
      EXPECT_NEAR(of_sample(f, s), wanted, 0.5 + 1e-4) << value;
    }
}

INSTANTIATE_TEST_SUITE_P(Targets, Narrow, ::testing::ValuesIn(available_targets()), target_name);

}  // namespace
}  // namespace tulle::kernels
