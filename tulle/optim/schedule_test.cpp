#include "tulle/optim/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>
#include <string>

namespace tulle {
namespace {

const ScheduleInfo& schedule_named(std::string_view name) {
  for (const ScheduleInfo& info : schedules())
    if (info.name == name) return info;
  throw std::logic_error("no such schedule");
}

class EverySchedule : public ::testing::TestWithParam<ScheduleInfo> {};

TEST_P(EverySchedule, StartsAtTheRateAndNeverRisesAboveItOrFallsBelowZero) {
  const ScheduleOptions options{.rate = 0.3, .milestones = {3, 7}, .total_steps = 100, .steps_per_epoch = 10};
  EXPECT_DOUBLE_EQ(learning_rate(GetParam(), options, 0), 0.3);
  double last = 0.3;
  for (std::int64_t t = 0; t <= 120; ++t) {  // also beyond the end
    const double rate = learning_rate(GetParam(), options, t);
    EXPECT_GE(rate, 0.0) << "step " << t;
    EXPECT_LE(rate, last) << "step " << t;
    last = rate;
  }
}

TEST_P(EverySchedule, WarmUpRisesLinearlyAndMultipliesIt) {
  const ScheduleOptions plain{.rate = 0.5, .milestones = {1}, .total_steps = 40, .steps_per_epoch = 10};
  ScheduleOptions warmed = plain;
  warmed.warmup_steps = 4;
  for (std::int64_t t = 0; t < 40; ++t) {
    const double factor = t < 4 ? 0.25 * static_cast<double>(t + 1) : 1.0;
    EXPECT_DOUBLE_EQ(learning_rate(GetParam(), warmed, t), factor * learning_rate(GetParam(), plain, t))
        << "step " << t;
  }
}

TEST_P(EverySchedule, IsANumberForATrainingWithoutSteps) {
  EXPECT_TRUE(std::isfinite(learning_rate(GetParam(), {.total_steps = 0}, 0)));
  EXPECT_TRUE(std::isfinite(learning_rate(GetParam(), {.total_steps = 0}, 1)));
}

INSTANTIATE_TEST_SUITE_P(Schedules, EverySchedule,
                         ::testing::ValuesIn(schedules().begin(), schedules().end()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(Constant, StaysTheSame) {
  for (const std::int64_t t : {0, 1, 99, 1000})
    EXPECT_EQ(learning_rate(schedule_named("constant"), {.rate = 0.01, .total_steps = 100}, t), 0.01);
}

TEST(Step, MultipliesByGammaFromTheFirstStepOfEachMilestoneEpochOn) {
  const ScheduleOptions options{
      .rate = 1.0, .gamma = 0.5, .milestones = {2, 4}, .total_steps = 60, .steps_per_epoch = 10};
  const auto at = [&](std::int64_t t) { return learning_rate(schedule_named("step"), options, t); };
  EXPECT_DOUBLE_EQ(at(19), 1.0);
  EXPECT_DOUBLE_EQ(at(20), 0.5);
  EXPECT_DOUBLE_EQ(at(39), 0.5);
  EXPECT_DOUBLE_EQ(at(40), 0.25);
  EXPECT_DOUBLE_EQ(at(59), 0.25);
}

TEST(Cosine, GoesFromTheRateThroughTheMeanToTheMinimumAndStaysThere) {
  const ScheduleOptions options{.rate = 1.0, .minimum_rate = 0.2, .total_steps = 60};
  const auto at = [&](std::int64_t t) { return learning_rate(schedule_named("cosine"), options, t); };
  EXPECT_DOUBLE_EQ(at(0), 1.0);
  EXPECT_DOUBLE_EQ(at(20), 0.2 + 0.8 * 0.75);  // cos(pi / 3) = 1/2
  EXPECT_DOUBLE_EQ(at(30), 0.6);
  EXPECT_DOUBLE_EQ(at(40), 0.2 + 0.8 * 0.25);
  EXPECT_DOUBLE_EQ(at(60), 0.2);
  EXPECT_DOUBLE_EQ(at(90), 0.2);
}

TEST(Linear, FallsStraightToZeroAndStaysThere) {
  const ScheduleOptions options{.rate = 1.0, .total_steps = 4};
  const double wanted[] = {1.0, 0.75, 0.5, 0.25, 0.0, 0.0, 0.0};
  for (std::int64_t t = 0; t < 7; ++t)
    EXPECT_DOUBLE_EQ(learning_rate(schedule_named("linear"), options, t), wanted[t]) << "step " << t;
}

}  // namespace
}  // namespace tulle
