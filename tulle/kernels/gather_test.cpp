#include "tulle/kernels/gather.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tulle/kernels/test_problem.h"

namespace tulle::kernels {
namespace {

struct Rows {
  std::int64_t features;
  std::vector<std::uint32_t> samples;
  Range range;
  int width;
};

// Rows that differ in every value, a scale for every feature.
template <class T>
void check(const Rows& problem) {
  constexpr std::int64_t kRows = 150;
  const std::int64_t stride = problem.features + 3;
  std::vector<T> rows(static_cast<std::size_t>(kRows * stride));
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<T>(i * 37 % 251);
  std::vector<float> mean, factor;
  for (std::int64_t f = 0; f < problem.features; ++f) {
    mean.push_back(static_cast<float>(f) * 0.75f);
    factor.push_back(1.0f / static_cast<float>(f + 1));
  }
  const auto size = static_cast<std::size_t>(problem.features * problem.width);
  std::vector<float> panel(size, kUntouched), expected(size, kUntouched);
  for (std::int64_t f = problem.range.begin; f < problem.range.end; ++f)
    for (int lane = 0; lane < problem.width; ++lane) {
      const auto i = static_cast<std::size_t>(f), l = static_cast<std::size_t>(lane);
      const bool used = l < problem.samples.size();
      const auto raw =
          used ? static_cast<float>(rows[static_cast<std::size_t>(problem.samples[l] * stride + f)]) : 0.0f;
      expected[static_cast<std::size_t>(f * problem.width + lane)] =
          used ? (raw - mean[i]) * factor[i] : 0.0f;
    }
  gather_panel(rows.data(), stride, problem.samples, problem.range, mean.data(), factor.data(), panel.data(),
               problem.width);
  EXPECT_EQ(panel, expected) << "width " << problem.width << ", " << problem.samples.size()
                             << " samples, features " << problem.range.begin << " to " << problem.range.end
                             << " of " << problem.features;
}

// Repeats, both ends, no order.
std::vector<std::uint32_t> some_samples(std::size_t count) {
  std::vector<std::uint32_t> samples;
  for (std::size_t i = 0; i < count; ++i) samples.push_back(static_cast<std::uint32_t>((149 + i * 97) % 150));
  return samples;
}

class Gather : public EveryTarget {};

TEST_P(Gather, BringsRowsScaledIntoLanesAndZerosBehindThem) {
  for (const int width : kAllWidths)
    for (const int missing : {0, 1, 15, 16, 17})
      for (const std::int64_t features : {1, 15, 16, 17, 100}) {
        const auto count = static_cast<std::size_t>(std::max(width - missing, 1));
        const Rows problem{features, some_samples(count), {0, features}, width};
        check<std::uint8_t>(problem);
        check<float>(problem);
      }
}

TEST_P(Gather, TouchesOnlyItsRangeOfFeatures) {
  for (const Range range : {Range{16, 48}, Range{5, 90}, Range{99, 100}, Range{7, 7}}) {
    check<std::uint8_t>({100, some_samples(20), range, 32});
    check<float>({100, some_samples(20), range, 32});
  }
}

TEST_P(Gather, NoSamplesGiveZeros) { check<std::uint8_t>({20, {}, {0, 20}, 16}); }

TEST_P(Gather, AFactorOfZeroGivesZero) {
  const std::vector<std::uint8_t> row{200};
  const std::vector<std::uint32_t> samples{0};
  const float mean = 100.0f, factor = 0.0f;
  std::vector<float> panel(16, kUntouched);
  gather_panel(row.data(), 1, samples, {0, 1}, &mean, &factor, panel.data(), 16);
  EXPECT_EQ(panel, std::vector<float>(16, 0.0f));
}

INSTANTIATE_TEST_SUITE_P(Targets, Gather, ::testing::ValuesIn(available_targets()), target_name);

}  // namespace
}  // namespace tulle::kernels
