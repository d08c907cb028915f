#include "tulle/kernels/gated.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tulle/base/random.h"
#include "tulle/kernels/targets.h"

namespace tulle::kernels {
namespace {

class EveryTarget : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { force_target(GetParam()); }
  void TearDown() override { force_target(""); }
};

constexpr std::int64_t kRows = 192, kStride = 200;

std::vector<float> columns() {
  std::vector<float> x(5 * kStride);
  const Random random{.seed = 1, .stream = Stream::kData};
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = random.normal(i);
  return x;
}

// Numbers of both signs, with zeros of both signs among them.
std::vector<double> numbers(std::uint64_t seed) {
  std::vector<double> t(kRows);
  const Random random{.seed = seed, .stream = Stream::kData};
  for (std::size_t i = 0; i < t.size(); ++i)
    t[i] = i % 7 == 3 ? 0.0 : i % 7 == 5 ? -0.0 : static_cast<double>(random.normal(i));
  return t;
}

TEST_P(EveryTarget, CombinesAndMultipliesColumns) {
  const std::vector<float> x = columns();
  const std::int32_t features[] = {4, 0, 3};
  const double values[] = {0.5, -2.0, 3.0};
  std::vector<double> t(kRows), sums{1.0, 2.0, 3.0};
  const std::vector<double> r = numbers(2);
  combine_columns(x.data() + 8, kStride, features, values, 3, kRows, t.data());
  dot_columns(x.data() + 8, kStride, features, 3, r.data(), kRows, sums.data());
  for (std::size_t k = 0; k < 3; ++k) {
    double wanted = static_cast<double>(k) + 1.0;
    for (std::size_t i = 0; i < kRows; ++i)
      wanted += static_cast<double>(x[static_cast<std::size_t>(features[k]) * kStride + 8 + i]) * r[i];
    EXPECT_NEAR(sums[k], wanted, 1e-12 * kRows);
  }
  for (std::size_t i = 0; i < kRows; ++i) {
    double wanted = 0.0;
    for (std::size_t k = 0; k < 3; ++k)
      wanted += values[k] * static_cast<double>(x[static_cast<std::size_t>(features[k]) * kStride + 8 + i]);
    EXPECT_NEAR(t[i], wanted, 1e-13);
  }
}

TEST_P(EveryTarget, GatesAreStrict) {
  const std::vector<double> t = numbers(3), r = numbers(4);
  std::vector<std::uint64_t> bits(kRows / 64);
  positive_gates(t.data(), kRows, bits.data());
  std::vector<double> y(kRows, 1.0), up(kRows, 1.0), down(kRows, 1.0), gated(kRows);
  std::vector<float> narrow(kRows);
  add_gated(r.data(), bits.data(), kRows, y.data());
  add_rectified(t.data(), true, kRows, up.data());
  add_rectified(t.data(), false, kRows, down.data());
  gate(r.data(), bits.data(), kRows, gated.data());
  gate(r.data(), bits.data(), kRows, narrow.data());
  for (std::size_t i = 0; i < kRows; ++i) {
    const bool open = t[i] > 0.0;
    EXPECT_EQ(bits[i / 64] >> (i % 64) & 1, open ? 1u : 0u) << i;
    EXPECT_EQ(y[i], open ? 1.0 + r[i] : 1.0);
    EXPECT_EQ(up[i], 1.0 + std::max(t[i], 0.0));
    EXPECT_EQ(down[i], 1.0 + std::min(t[i], 0.0));
    EXPECT_EQ(gated[i], open ? r[i] : 0.0);
    EXPECT_EQ(narrow[i], open ? static_cast<float>(r[i]) : 0.0f);
  }
}

INSTANTIATE_TEST_SUITE_P(Gated, EveryTarget, ::testing::ValuesIn(available_targets()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace tulle::kernels
