#include "tulle/recover/starts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

namespace tulle {
namespace {

TEST(Starts, AreFourFreshOnesThenAihtThenDisturbedOnes) {
  const RecoverOptions options{.starts = 7};
  Starts starts(options);
  for (int k = 0; k < 4; ++k) {
    const Start fresh = starts.next().value();
    EXPECT_EQ(fresh.number, k);
    EXPECT_FALSE(fresh.aiht);
    EXPECT_EQ(fresh.leaving, 0.0);
    EXPECT_EQ(fresh.born, k < 2);
  }
  EXPECT_TRUE(starts.next().value().aiht);
  for (int k = 5; k < 7; ++k) EXPECT_GT(starts.next().value().leaving, 0.0);
  EXPECT_FALSE(starts.next().has_value());
}

TEST(Starts, TakeTheFirstWhateverTheTimeLimitAndNoneAfterIt) {
  const RecoverOptions options{.time_limit = 1e-3};
  Starts starts(options);
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_TRUE(starts.next().has_value());
  EXPECT_FALSE(starts.next().has_value());
}

TEST(GradedNonzeros, FallFromTheExcessToTheBudgetAndNeverBelow) {
  EXPECT_EQ(graded_nonzeros(3.0, 100, 0.2, 1000), 300);
  EXPECT_EQ(graded_nonzeros(3.0, 100, 0.525, 1000), 173);  // 300 / sqrt(3)
  EXPECT_EQ(graded_nonzeros(3.0, 100, 0.8, 1000), 100);
  EXPECT_EQ(graded_nonzeros(3.0, 100, 0.2, 250), 250);
}

TEST(Leaving, IsTheShareAskedForAndTwoAtLeast) {
  const auto count = [](std::size_t neurons, double share, std::int64_t event) {
    const std::vector<bool> leaves = leaving(neurons, share, 1, event);
    return std::count(leaves.begin(), leaves.end(), true);
  };
  EXPECT_EQ(count(50, 0.2, 3), 10);
  EXPECT_EQ(count(5, 0.1, 3), 2);
  EXPECT_EQ(count(1, 0.1, 3), 1);
  EXPECT_EQ(count(0, 0.1, 3), 0);
  EXPECT_NE(leaving(50, 0.2, 1, 3), leaving(50, 0.2, 1, 4));
}

}  // namespace
}  // namespace tulle
