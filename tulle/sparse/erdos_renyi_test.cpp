#include "tulle/sparse/erdos_renyi.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tulle/base/parallel.h"
#include "tulle/sparse/sampling.h"
#include "tulle/sparse/test_statistics.h"

namespace tulle {
namespace {

constexpr int kSeeds = 10'000;
// A mean of many draws beyond so many of its standard deviations is a fault: probability 1e-6.
constexpr double kSigmas = 4.9;

Random key_of(int trial) { return {.seed = trial_seed(trial), .stream = Stream::kTopology}; }

struct Counts {
  double mean, variance;
};
template <class Draw>
Counts counts_of(int trials, const Draw& draw) {
  double sum = 0.0, squares = 0.0;
  for (int trial = 0; trial < trials; ++trial) {
    const auto count = static_cast<double>(draw(key_of(trial)).nnz());
    sum += count;
    squares += count * count;
  }
  const double mean = sum / trials;
  return {mean, (squares - sum * mean) / (trials - 1)};
}

// Several blocks of cells, one, and a layer that is almost full.
TEST(BernoulliTopology, HasTheMeanAndVarianceOfIndependentCells) {
  SCOPED_TRACE(seed_note());
  struct Case {
    std::int32_t rows, cols;
    double probability;
    int trials;
  };
  for (const Case& c : {Case{20, 15, 0.13, kSeeds},
                        {20, 15, 0.97, kSeeds},
                        {500, 700, 0.07, 300},
                        {90'000, 90'000, 1e-6, 500}}) {
    const double cells = static_cast<double>(c.rows) * c.cols;
    const double variance = cells * c.probability * (1.0 - c.probability);
    const Counts found = counts_of(
        c.trials, [&](const Random& key) { return bernoulli_topology(c.rows, c.cols, c.probability, key); });
    EXPECT_NEAR(found.mean, cells * c.probability, kSigmas * std::sqrt(variance / c.trials)) << c.probability;
    // Of a nearly normal law the variance of a sample's variance is 2 variance^2 / (trials - 1); a binomial
    // one of few or many cells has a little more.
    EXPECT_NEAR(found.variance / variance, 1.0, 1.2 * kSigmas * std::sqrt(2.0 / c.trials)) << c.probability;
  }
}

TEST(BernoulliTopology, TakesEveryCellEquallyOften) {
  constexpr std::int32_t kRows = 20, kCols = 15;
  constexpr double kProbability = 0.3;
  std::vector<int> cells(kRows * kCols, 0);
  for (int trial = 0; trial < kSeeds; ++trial)
    for (const std::uint64_t cell : bernoulli_topology(kRows, kCols, kProbability, key_of(trial)).keys())
      ++cells[cell];
  double statistic = 0.0;
  for (const int count : cells) {
    const double off = count - kSeeds * kProbability;
    statistic += off * off / (kSeeds * kProbability * (1.0 - kProbability));
  }
  EXPECT_TRUE(plausible_chi_square(statistic, kRows * kCols));
}

TEST(BernoulliTopology, OfCertainCellsIsFullAndOfImpossibleOnesEmpty) {
  EXPECT_EQ(bernoulli_topology(7, 5, 1.0, key_of(0)), full_topology(7, 5));
  EXPECT_EQ(bernoulli_topology(7, 5, 0.0, key_of(0)).nnz(), 0);
  EXPECT_THROW(bernoulli_topology(7, 5, 1.1, key_of(0)), std::invalid_argument);
}

TEST(MergedDrawsTopology, HasTheExpectedNumberOfDistinctCells) {
  SCOPED_TRACE(seed_note());
  struct Case {
    std::int32_t rows, cols;
    std::int64_t draws;
  };
  for (const Case& c : {Case{20, 15, 40}, {20, 15, 900}, {100, 10, 1100}}) {
    const double cells = c.rows * c.cols, k = static_cast<double>(c.draws);
    // Each cell stays empty with probability q = (1 - 1/N)^k, two of them with r = (1 - 2/N)^k.
    const double q = std::pow(1.0 - 1.0 / cells, k), r = std::pow(1.0 - 2.0 / cells, k);
    const double variance = cells * (q - q * q) + cells * (cells - 1.0) * (r - q * q);
    const Counts found = counts_of(
        kSeeds, [&](const Random& key) { return merged_draws_topology(c.rows, c.cols, c.draws, key); });
    EXPECT_NEAR(expected_merged_draws(cells, k), cells * (1.0 - q), 1e-9 * cells);
    EXPECT_NEAR(found.mean, cells * (1.0 - q), kSigmas * std::sqrt(variance / kSeeds)) << c.draws << " draws";
    EXPECT_NEAR(found.variance / variance, 1.0, 1.2 * kSigmas * std::sqrt(2.0 / kSeeds))
        << c.draws << " draws";
  }
}

TEST(ErdosRenyi, GivesTheSameCellsForAnyNumberOfThreads) {
  set_thread_count(1);
  const Topology bernoulli = bernoulli_topology(900, 1100, 0.11, key_of(1)),
                 merged = merged_draws_topology(900, 1100, 90'000, key_of(1));
  for (const int threads : {2, 3, 8}) {
    set_thread_count(threads);
    EXPECT_EQ(bernoulli_topology(900, 1100, 0.11, key_of(1)), bernoulli) << threads << " threads";
    EXPECT_EQ(merged_draws_topology(900, 1100, 90'000, key_of(1)), merged) << threads << " threads";
  }
  set_thread_count(0);
}

}  // namespace
}  // namespace tulle
