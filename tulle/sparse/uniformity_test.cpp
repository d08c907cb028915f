// Every choice of cells is equally likely: chi-square tests over 10^4 seeds.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "tulle/sparse/sampling.h"
#include "tulle/sparse/test_statistics.h"

namespace tulle {
namespace {

constexpr int kSeeds = 10'000;

Random uniformity_key(int trial) {
  return {.seed = trial_seed(trial), .stream = Stream::kTopology, .layer = 1};
}

// Every outcome of `draw` equally likely among `outcomes`.
template <class Draw>
void expect_equally_likely(std::size_t outcomes, Draw draw) {
  std::map<std::vector<std::uint64_t>, int> counts;
  for (int trial = 0; trial < kSeeds; ++trial) ++counts[draw(uniformity_key(trial))];
  ASSERT_EQ(counts.size(), outcomes) << seed_note();
  const double expected = static_cast<double>(kSeeds) / static_cast<double>(outcomes);
  double statistic = 0;
  for (const auto& [outcome, count] : counts) statistic += (count - expected) * (count - expected) / expected;
  EXPECT_TRUE(plausible_chi_square(statistic, static_cast<double>(outcomes) - 1));
}

TEST(Uniformity, EveryOrderOfASmallBijectionIsEquallyLikely) {
  expect_equally_likely(24, [](const Random& key) {
    const Bijection b(4, key);
    return std::vector<std::uint64_t>{b(0), b(1), b(2), b(3)};
  });
}

TEST(Uniformity, PairsOfImagesOfAFeistelBijectionSpreadEvenly) {
  for (const std::uint64_t n : {65'536, 100'003}) {
    // (i, j): neighbours, and a bit apart; 16 x 16 blocks of equal size, plus 3 left over in 100003.
    for (const std::uint64_t j : {1, 2, 256, 32'768}) {
      expect_equally_likely(256, [n, j](const Random& key) {
        const Bijection b(n, key);
        const std::uint64_t block = (n + 15) / 16;
        return std::vector<std::uint64_t>{b(0) / block, b(j) / block};
      });
    }
  }
}

TEST(Uniformity, LowBitsOfAFeistelBijectionSpreadEvenly) {
  expect_equally_likely(256, [](const Random& key) {
    const Bijection b(100'003, key);
    return std::vector<std::uint64_t>{b(0) % 16, b(1) % 16};
  });
}

TEST(Uniformity, EveryTopologyOfASmallLayerIsEquallyLikely) {
  for (const auto& [m, subsets] : {std::pair{1, 6}, {2, 15}, {3, 20}, {4, 15}, {5, 6}})
    expect_equally_likely(static_cast<std::size_t>(subsets),
                          [m = m](const Random& key) { return random_topology(2, 3, m, key).keys(); });
}

TEST(Uniformity, EveryRowOfFixedFanInIsEquallyLikely) {
  for (const std::int32_t row : {0, 2})
    expect_equally_likely(20, [row](const Random& key) {
      const Topology t = fixed_fan_in_topology(3, 6, 3, key);
      return std::vector<std::uint64_t>(t.row(row).begin(), t.row(row).end());
    });
}

struct Layer {
  const char* name;
  int rows, cols, m;
};

class UniformityOfLayers : public ::testing::TestWithParam<Layer> {};

TEST_P(UniformityOfLayers, CellsAndDegreesFollowTheirLaws) {
  const auto [name, rows, cols, m] = GetParam();
  std::vector<int> cells(static_cast<std::size_t>(rows * cols), 0);
  std::vector<int> in_degrees(static_cast<std::size_t>(std::min(cols, m)) + 1, 0);
  std::vector<int> out_degrees(static_cast<std::size_t>(std::min(rows, m)) + 1, 0);
  for (int trial = 0; trial < kSeeds; ++trial) {
    const Topology t = random_topology(rows, cols, m, uniformity_key(trial));
    for (const std::uint64_t key : t.keys()) ++cells[key];
    // One row and one column per trial: degrees within a topology are not independent.
    ++in_degrees[t.row(trial % rows).size()];
    ++out_degrees[static_cast<std::size_t>(std::count(t.columns().begin(), t.columns().end(), trial % cols))];
  }
  EXPECT_TRUE(uniform_cells(cells, kSeeds, m)) << "cells";
  EXPECT_TRUE(follows(in_degrees, hypergeometric(rows * cols, cols, m), kSeeds)) << "in-degrees";
  EXPECT_TRUE(follows(out_degrees, hypergeometric(rows * cols, rows, m), kSeeds)) << "out-degrees";
}

INSTANTIATE_TEST_SUITE_P(Sampling, UniformityOfLayers,
                         ::testing::Values(Layer{"Stored", 20, 15, 40},
                                           Layer{"StoredComplement", 20, 15, 250},
                                           Layer{"Feistel", 256, 256, 655},
                                           Layer{"FeistelWithCycleWalking", 260, 255, 655}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(Uniformity, SourcesAndOutDegreesOfFixedFanInFollowTheirLaws) {
  constexpr int kRows = 30, kCols = 24, kFanIn = 5;
  std::vector<int> sources(kCols, 0), out_degrees(kRows + 1, 0);
  for (int trial = 0; trial < kSeeds; ++trial) {
    const Topology t = fixed_fan_in_topology(kRows, kCols, kFanIn, uniformity_key(trial));
    for (const std::int32_t source : t.columns()) ++sources[static_cast<std::size_t>(source)];
    ++out_degrees[static_cast<std::size_t>(
        std::count(t.columns().begin(), t.columns().end(), trial % kCols))];
  }
  EXPECT_TRUE(uniform_cells(sources, double{kSeeds} * kRows, kFanIn));
  std::vector<double> binomial(kRows + 1);
  const double p = double{kFanIn} / kCols;
  for (int d = 0; d <= kRows; ++d)
    binomial[static_cast<std::size_t>(d)] =
        std::exp(std::lgamma(kRows + 1.0) - std::lgamma(d + 1.0) - std::lgamma(kRows - d + 1.0)) *
        std::pow(p, d) * std::pow(1 - p, kRows - d);
  EXPECT_TRUE(follows(out_degrees, binomial, kSeeds));
}

TEST(Uniformity, GrownCellsAreUniformOverTheAbsentOnes) {
  // Below half density by rejection, above by listing; stored and Feistel.
  for (const auto& [rows, cols, nnz, count] :
       {std::array{20, 15, 90, 12}, {20, 15, 240, 12}, {300, 250, 750, 700}}) {
    const Topology t = random_topology(rows, cols, nnz, uniformity_key(-1));
    std::vector<int> cells(t.cells(), 0), absent;
    for (int trial = 0; trial < kSeeds; ++trial)
      for (const std::uint64_t cell :
           random_absent_cells(t, count, {.seed = trial_seed(trial), .stream = Stream::kGrow}))
        ++cells[cell];
    for (std::size_t cell = 0; cell < cells.size(); ++cell)
      if (!t.contains(static_cast<std::int32_t>(cell) / cols, static_cast<std::int32_t>(cell) % cols))
        absent.push_back(cells[cell]);
    EXPECT_TRUE(uniform_cells(absent, kSeeds, count)) << nnz << " of " << t.cells();
  }
}

}  // namespace
}  // namespace tulle
