#include "tulle/evolve/schedule.h"

#include <gtest/gtest.h>

#include "tulle/base/name_table.h"

namespace tulle {
namespace {

double factor(std::string_view name, EvolveProgress progress) {
  return find_name(zeta_schedules(), "test", name).factor(progress);
}

TEST(ZetaSchedules, HaveTheirValuesAtStartMiddleAndEnd) {
  for (const double part : {0.0, 0.5, 1.0}) EXPECT_EQ(factor("constant", {.part = part}), 1.0);
  EXPECT_DOUBLE_EQ(factor("cosine", {.part = 0.0}), 1.0);
  EXPECT_DOUBLE_EQ(factor("cosine", {.part = 0.5}), 0.5);
  EXPECT_NEAR(factor("cosine", {.part = 1.0}), 0.0, 1e-15);
  EXPECT_DOUBLE_EQ(factor("linear", {.part = 0.25}), 0.75);
  EXPECT_EQ(factor("linear", {.part = 1.5}), 0.0);
  EXPECT_DOUBLE_EQ(factor("adaptive", {.part = 0.9, .rate_share = 0.1}), 0.1);
  EXPECT_EQ(factor("adaptive", {.rate_share = 3.0}), 1.0);
}

TEST(ZetaSchedules, StayBetweenNothingAndAll) {
  for (const ZetaScheduleInfo& schedule : zeta_schedules())
    for (double part = 0.0; part < 1.2; part += 0.05)
      for (const double rate : {0.0, 0.3, 1.0, 2.0}) {
        const double value = schedule.factor({.part = part, .rate_share = rate});
        EXPECT_GE(value, 0.0) << schedule.name;
        EXPECT_LE(value, 1.0) << schedule.name;
      }
}

TEST(CubicDensity, FallsFromTheFirstToTheLast) {
  EXPECT_DOUBLE_EQ(cubic_density(0.5, 0.1, -1.0), 0.5);
  EXPECT_DOUBLE_EQ(cubic_density(0.5, 0.1, 0.0), 0.5);
  EXPECT_DOUBLE_EQ(cubic_density(0.5, 0.1, 0.5), 0.1 + 0.4 / 8);
  EXPECT_DOUBLE_EQ(cubic_density(0.5, 0.1, 1.0), 0.1);
  EXPECT_DOUBLE_EQ(cubic_density(0.5, 0.1, 7.0), 0.1);
}

}  // namespace
}  // namespace tulle
