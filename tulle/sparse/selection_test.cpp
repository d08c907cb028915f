#include "tulle/sparse/selection.h"

#include <gtest/gtest.h>

#include "tulle/base/parallel.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <stdexcept>
#include <vector>

#include "tulle/sparse/test_statistics.h"

namespace tulle {
namespace {

using Marks = std::vector<std::uint8_t>;

// By a full sort of the positions.
Marks by_sorting(const std::vector<float>& values, std::int64_t negatives, std::int64_t others) {
  Marks marks(values.size(), 0);
  for (const bool negative : {true, false}) {
    std::vector<std::size_t> order;
    for (std::size_t k = 0; k < values.size(); ++k)
      if ((values[k] < 0.0f) == negative) order.push_back(k);
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      if (std::isnan(values[a]) || std::isnan(values[b])) return !std::isnan(values[a]);
      return std::abs(values[a]) < std::abs(values[b]);
    });
    for (std::int64_t i = 0; i < (negative ? negatives : others); ++i)
      marks[order[static_cast<std::size_t>(i)]] = 1;
  }
  return marks;
}

Marks select(const std::vector<float>& values, std::int64_t negatives, std::int64_t others) {
  Marks marks(values.size(), 0);
  mark_weakest_of_each_sign(values, negatives, others, marks);
  return marks;
}

TEST(Selection, EqualsAFullSortForEveryCount) {
  SCOPED_TRACE(seed_note());
  std::mt19937_64 random(test_seed());
  constexpr float kSpecial[] = {
      0.0f, -0.0f, 1e-42f, -1e-42f, 1.0f, -1.0f, std::numeric_limits<float>::infinity()};
  for (int trial = 0; trial < 300; ++trial) {
    std::vector<float> values(random() % 60);
    const std::uint64_t kind = random() % 3;  // all different, many ties, special values
    for (float& value : values) {
      const float normal = std::normal_distribution<float>()(random);
      value = kind == 0 ? normal : kind == 1 ? std::round(normal) : kSpecial[random() % std::size(kSpecial)];
    }
    const auto negatives = std::count_if(values.begin(), values.end(), [](float v) { return v < 0.0f; });
    const auto others = static_cast<std::int64_t>(values.size()) - negatives;
    for (std::int64_t n = 0; n <= negatives; ++n)
      ASSERT_EQ(select(values, n, others * n / (negatives + 1)),
                by_sorting(values, n, others * n / (negatives + 1)));
    ASSERT_EQ(select(values, negatives, others), Marks(values.size(), 1));
  }
}

TEST(Selection, TakesNaNLast) {
  const std::vector<float> values{std::nanf(""), std::numeric_limits<float>::infinity(), 2.0f, 1.0f};
  EXPECT_EQ(select(values, 0, 3), (Marks{0, 1, 1, 1}));
}

TEST(Selection, LeavesOtherMarksAlone) {
  const std::vector<float> values{3.0f, 1.0f, -2.0f};
  Marks marks{7, 7, 7};
  mark_weakest_of_each_sign(values, 0, 1, marks);
  EXPECT_EQ(marks, (Marks{7, 1, 7}));
}

TEST(Selection, RefusesMoreThanThereIs) {
  const std::vector<float> values{1.0f, -1.0f};
  Marks marks(2, 0), one(1, 0);
  EXPECT_THROW(mark_weakest_of_each_sign(values, 2, 0, marks), std::invalid_argument);
  EXPECT_THROW(mark_weakest_of_each_sign(values, 0, -1, marks), std::invalid_argument);
  EXPECT_THROW(mark_weakest_of_each_sign(values, 0, 0, one), std::invalid_argument);
}

// Parallel work takes denormals for 0.
TEST(Selection, TellsSignsOfDenormalsOnManyThreads) {
  std::vector<float> values;
  for (int i = 0; i < 50'000; ++i)
    values.push_back((i % 2 == 0 ? 1e-42f : -1e-42f) * static_cast<float>(i % 7 + 1));
  set_thread_count(3);
  std::vector<std::uint8_t> marks(values.size(), 0);
  mark_weakest_of_each_sign(values, 1000, 10, marks);
  set_thread_count(0);
  std::int64_t negative = 0, other = 0;
  for (std::size_t k = 0; k < values.size(); ++k) (is_negative(values[k]) ? negative : other) += marks[k];
  EXPECT_EQ(negative, 1000);
  EXPECT_EQ(other, 10);
}

}  // namespace
}  // namespace tulle
