#include "tulle/recover/count_sketch.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tulle/base/parallel.h"
#include "tulle/base/random.h"
#include "tulle/recover/recover_testing.h"

namespace tulle::testing {
namespace {

constexpr double kUnit = 0x1p-30;

TEST(CountSketch, FindsOneNumberThatIsAHundredTimesAsLargeAsTheRest) {
  const Random random{.seed = 1, .stream = Stream::kData};
  for (const std::uint64_t seed : {0, 1, 2}) {
    CountSketch sketch(200, kUnit, seed);
    for (std::int64_t place = 0; place < 10000; ++place)
      sketch.add(place, place == 777                                              ? 100.0
                        : random.below(2, static_cast<std::uint64_t>(place)) == 0 ? -1.0
                                                                                  : 1.0);
    std::int64_t largest = 0;
    for (std::int64_t place = 0; place < 10000; ++place)
      if (std::abs(sketch.estimate(place)) > std::abs(sketch.estimate(largest))) largest = place;
    EXPECT_EQ(largest, 777) << seed;
    EXPECT_NEAR(sketch.estimate(777), 100.0, 25.0);  // 50 numbers of +-1 share the cell
  }
}

TEST(CountSketch, IsExactWhereNothingElseIsInTheCells) {
  CountSketch sketch(1 << 20, kUnit, 3);
  for (const double value : {0.5, -2.25, 4.0}) sketch.add(5, value);
  sketch.add(std::int64_t{1} << 40, -7.125);
  EXPECT_EQ(sketch.estimate(5), 2.25);
  EXPECT_EQ(sketch.estimate(std::int64_t{1} << 40), -7.125);
  EXPECT_EQ(sketch.estimate(6), 0.0);
}

TEST(CountSketch, EachRowIsRightOnAverageOverSeeds) {
  constexpr int kSeeds = 4000;
  std::array<double, CountSketch::kRows> sums{};
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    CountSketch sketch(4, kUnit, seed);
    for (std::int64_t place = 0; place < 9; ++place) sketch.add(place, place == 2 ? 3.0 : 1.0);
    const std::array<double, CountSketch::kRows> estimates = sketch.row_estimates(2);
    for (std::size_t row = 0; row < sums.size(); ++row) sums[row] += estimates[row];
  }
  // Eight others, each in the cell one time in four: variance 2 of one estimate. Four deviations of the mean.
  for (const double sum : sums) EXPECT_NEAR(sum / kSeeds, 3.0, 4.0 * std::sqrt(2.0 / kSeeds));
}

TEST(CountSketch, HoldsTheSameSumsWhateverTheOrderAndTheThreads) {
  const auto filled = [](int threads, bool backwards) {
    CountSketch sketch(50, kUnit, 7);
    with_threads(threads, [&] {
      parallel_ranges(3000, 1, [&](Range places) {
        for (std::int64_t k = places.begin; k < places.end; ++k)
          sketch.add(backwards ? 2999 - k : k, std::sin(static_cast<double>(backwards ? 2999 - k : k)));
      });
      return 0;
    });
    std::vector<double> estimates;
    for (std::int64_t place = 0; place < 3000; ++place) estimates.push_back(sketch.estimate(place));
    return estimates;
  };
  EXPECT_EQ(filled(3, false), filled(1, false));
  EXPECT_EQ(filled(1, true), filled(1, false));
}

TEST(CountSketch, HasCellsForWhatIsToBeFound) {
  EXPECT_EQ(CountSketch::width_for(100, 100 * 20), 299);  // ln 20 = 2.9957
  EXPECT_EQ(CountSketch::width_for(100, 150), 100);
  EXPECT_THROW(CountSketch(0, kUnit, 0), std::invalid_argument);
  EXPECT_THROW(CountSketch(5, 0.0, 0), std::invalid_argument);
}

}  // namespace
}  // namespace tulle::testing
