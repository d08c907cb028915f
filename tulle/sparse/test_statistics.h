#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

/// Tests of randomness. Each refuses at a probability of about 1e-6, so that another TULLE_TEST_SEED hardly
/// ever fails without a reason.
namespace tulle {

inline std::uint64_t test_seed() {
  const char* text = std::getenv("TULLE_TEST_SEED");
  return text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
}

/// The seed of trial `i`; trials of different test seeds do not overlap.
inline std::uint64_t trial_seed(int i) { return test_seed() << 32 | static_cast<std::uint64_t>(i); }

inline std::string seed_note() { return "TULLE_TEST_SEED=" + std::to_string(test_seed()); }

/// Whether a chi-square statistic is neither too large nor (draws too even to be random) too small, by the
/// approximation of Wilson and Hilferty 1931.
inline ::testing::AssertionResult plausible_chi_square(double statistic, double freedom) {
  const double spread = 2.0 / (9.0 * freedom);
  const double z = (std::cbrt(statistic / freedom) - (1.0 - spread)) / std::sqrt(spread);
  if (std::abs(z) < 4.9) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "chi-square " << statistic << " with " << freedom
                                       << " degrees of freedom is " << z << " sigma off, " << seed_note();
}

/// Whether `trials` samples of `size` out of counts.size() cells hit all cells equally often.
inline ::testing::AssertionResult uniform_cells(const std::vector<int>& counts, double trials, double size) {
  const auto cells = static_cast<double>(counts.size());
  const double share = size / cells, expected = trials * share;
  // Without replacement the counts of a trial have covariance share (1 - share) cells / (cells - 1) (I -
  // 11'/cells).
  const double variance = trials * share * (1 - share) * cells / (cells - 1);
  double statistic = 0;
  for (const int count : counts) statistic += (count - expected) * (count - expected) / variance;
  return plausible_chi_square(statistic, cells - 1);
}

/// Whether counts[d] of independent trials follow probabilities[d]; cells that expect few are pooled.
inline ::testing::AssertionResult follows(const std::vector<int>& counts,
                                          const std::vector<double>& probabilities, double trials) {
  double statistic = 0, count = 0, expected = 0;
  int cells = 0;
  const auto close_cell = [&] {
    statistic += (count - expected) * (count - expected) / expected;
    count = expected = 0;
    ++cells;
  };
  double rest = trials;
  for (std::size_t d = 0; d < counts.size(); ++d) {
    count += counts[d];
    expected += trials * probabilities[d];
    rest -= trials * probabilities[d];
    if (expected >= 10 && rest >= 10) close_cell();
  }
  close_cell();
  return plausible_chi_square(statistic, cells - 1);
}

/// P(d of `drawn` are marked) for draws without replacement from `all` of which `marked` are marked.
inline std::vector<double> hypergeometric(int all, int marked, int drawn) {
  const auto log_choose = [](int n, int k) {
    return std::lgamma(n + 1.0) - std::lgamma(k + 1.0) - std::lgamma(n - k + 1.0);
  };
  std::vector<double> probabilities(static_cast<std::size_t>(std::min(marked, drawn)) + 1, 0.0);
  for (int d = std::max(0, drawn - (all - marked)); d <= std::min(marked, drawn); ++d)
    probabilities[static_cast<std::size_t>(d)] =
        std::exp(log_choose(marked, d) + log_choose(all - marked, drawn - d) - log_choose(all, drawn));
  return probabilities;
}

/// Whether values follow the distribution function `cdf` (Kolmogorov-Smirnov).
template <class Cdf>
::testing::AssertionResult follows_law(std::span<const float> drawn, Cdf cdf) {
  std::vector<float> values(drawn.begin(), drawn.end());
  std::sort(values.begin(), values.end());
  const auto n = static_cast<double>(values.size());
  double distance = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double f = cdf(static_cast<double>(values[i])), below = static_cast<double>(i) / n;
    distance = std::max({distance, f - below, below + 1 / n - f});
  }
  // P(distance > x / sqrt(n)) < 2 exp(-2 x^2), which is 1e-6 at x = 2.7.
  if (distance * std::sqrt(n) < 2.7) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << "distance " << distance << " of " << n << " values, " << seed_note();
}

}  // namespace tulle
