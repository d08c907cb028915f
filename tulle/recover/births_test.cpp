#include "tulle/recover/births.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tulle/recover/recover_testing.h"

namespace tulle::testing {
namespace {

TEST(Births, ComeInTheOrderOfTheirCorrelationWithWhatIsMissed) {
  const Samples x = planted_samples(700, 6, 1, 0);
  std::vector<double> r(static_cast<std::size_t>(2 * x.padded()), 0.0);
  for (std::int64_t i = 0; i < 700; ++i) {
    r[static_cast<std::size_t>(i)] = std::sin(static_cast<double>(i));
    r[static_cast<std::size_t>(x.padded() + i)] = -3.0 * std::max(-x.column(4)[i], 0.0f);
  }
  const auto score = [&](std::int32_t c, double direction, std::int32_t o) {
    double product = 0.0, squares = 0.0;
    for (std::int64_t i = 0; i < 700; ++i) {
      const double z = std::max(direction * static_cast<double>(x.column(c)[i]), 0.0);
      product += z * r[static_cast<std::size_t>(o * x.padded() + i)];
      squares += z * z;
    }
    return product / std::sqrt(squares);
  };
  const std::vector<Births::Birth> births = Births(x).best(r, true, 100);
  ASSERT_EQ(births.size(), 12u);
  EXPECT_EQ(births[0].feature, 4);
  EXPECT_EQ(births[0].direction, -1.0);
  EXPECT_EQ(births[0].output, 1);
  for (std::size_t k = 0; k < births.size(); ++k) {
    const Births::Birth& b = births[k];
    EXPECT_NEAR(b.score, score(b.feature, b.direction, b.output), 1e-9 * std::abs(b.score));
    EXPECT_GE(std::abs(b.score), std::abs(score(b.feature, b.direction, 1 - b.output)));
    EXPECT_LE(std::abs(b.score), std::abs(births[k == 0 ? 0 : k - 1].score));
  }
  EXPECT_GT(Births(x).best(r, false, 1)[0].score, 0.0);
}

}  // namespace
}  // namespace tulle::testing
