#include "tulle/sparse/patterns.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <tuple>

#include "tulle/base/parallel.h"
#include "tulle/sparse/test_statistics.h"

namespace tulle {
namespace {

Random pattern_key(int trial) { return {.seed = trial_seed(trial), .stream = Stream::kTopology, .layer = 2}; }

class EveryPattern : public ::testing::TestWithParam<PatternInfo> {
 protected:
  void TearDown() override { set_thread_count(0); }
};

TEST_P(EveryPattern, HasExactlyTheWantedConnectionsAtEveryShapeAndDensity) {
  for (const auto& [rows, cols] : {std::pair{1, 1}, {1, 50}, {50, 1}, {16, 16}, {40, 33}, {100, 70}})
    for (const double share : {0.0, 0.01, 0.3, 0.5, 0.97, 1.0}) {
      const auto m = static_cast<std::int64_t>(std::llround(share * rows * cols));
      const Topology t = GetParam().draw(rows, cols, m, 0.4, pattern_key(0));
      EXPECT_EQ(t.nnz(), m) << rows << " x " << cols;
      EXPECT_EQ(t.rows(), rows);
      EXPECT_EQ(t.cols(), cols);
      EXPECT_EQ(Topology::from_keys(rows, cols, t.keys()), t);  // sorted, unique, inside
    }
}

TEST_P(EveryPattern, IsAFunctionOfItsKeyForAnyNumberOfThreads) {
  const auto draw = [](int trial) { return GetParam().draw(300, 200, 5000, 0.4, pattern_key(trial)); };
  set_thread_count(1);
  const Topology one = draw(0);
  EXPECT_NE(draw(1), one);
  for (const int threads : {2, 3, 8}) {
    set_thread_count(threads);
    EXPECT_EQ(draw(0), one) << threads << " threads";
  }
}

TEST_P(EveryPattern, RefusesMoreConnectionsThanCells) {
  EXPECT_THROW(GetParam().draw(3, 4, 13, 0.4, pattern_key(0)), std::invalid_argument);
}

INSTANTIATE_TEST_SUITE_P(Patterns, EveryPattern, ::testing::ValuesIn(patterns().begin(), patterns().end()),
                         [](const auto& info) {
                           std::string name(info.param.name);
                           std::erase(name, '-');
                           return name;
                         });

// How far a source is from its target's place, on a ring of `cols`.
double distance(std::int32_t target, std::int32_t source, std::int32_t rows, std::int32_t cols) {
  const double place = (target + 0.5) * cols / rows, off = std::abs(source + 0.5 - place);
  return std::min(off, cols - off);
}

TEST(WattsStrogatz, WithoutRewiringTakesTheNearestSources) {
  const Topology t = watts_strogatz_topology(30, 60, 30 * 7 + 11, 0.0, pattern_key(0));
  for (std::int32_t r = 0; r < 30; ++r) {
    const auto degree = static_cast<std::int32_t>(t.row(r).size());
    EXPECT_TRUE(degree == 7 || degree == 8) << r;
    for (const std::int32_t source : t.row(r))
      EXPECT_LE(distance(r, source, 30, 60), degree / 2.0 + 1.0) << r;
  }
}

TEST(WattsStrogatz, RewiresTheAskedShareToSourcesAnywhere) {
  SCOPED_TRACE(seed_note());
  constexpr std::int32_t kRows = 50, kCols = 400, kDegree = 10;
  constexpr double kRewire = 0.3;
  constexpr int kTrials = 200;
  const Topology lattice = watts_strogatz_topology(kRows, kCols, kRows * kDegree, 0.0, pattern_key(0));
  std::vector<int> places(3, 0), offsets(3, 0);  // thirds of the ring, from its start and from the target on
  int moved = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    const Topology t = watts_strogatz_topology(kRows, kCols, kRows * kDegree, kRewire, pattern_key(trial));
    for (std::int32_t r = 0; r < kRows; ++r)
      for (const std::int32_t source : t.row(r)) {
        if (lattice.contains(r, source)) continue;
        ++moved;
        const std::int32_t from = (source - r * kCols / kRows + kCols) % kCols;
        ++places[static_cast<std::size_t>(3 * source / kCols)];
        ++offsets[static_cast<std::size_t>(3 * from / kCols)];
      }
  }
  // A connection may move back onto a place that another one left: below 0.3 * 10 / 390 of them.
  const double connections = double{kTrials} * kRows * kDegree;
  const double sigma = std::sqrt(connections * kRewire * (1.0 - kRewire));
  EXPECT_LT(moved, kRewire * connections + 4.9 * sigma);
  EXPECT_GT(moved, kRewire * connections * (1.0 - 0.01) - 4.9 * sigma);
  for (const auto& thirds : {places, offsets})
    for (const int count : thirds) EXPECT_NEAR(count, moved / 3.0, 0.02 * moved);
}

TEST(Block, FillsWholeBlocksButOne) {
  constexpr std::int32_t kRows = 100, kCols = 70;  // 4 and 6 cells are left at the ends
  constexpr std::int64_t kConnections = 3001;
  const Topology t = block_topology(kRows, kCols, kConnections, pattern_key(0));
  std::map<std::pair<int, int>, int> found, cells;
  for (std::int32_t r = 0; r < kRows; ++r)
    for (std::int32_t c = 0; c < kCols; ++c) {
      ++cells[{r / 16, c / 16}];
      found[{r / 16, c / 16}] += t.contains(r, c) ? 1 : 0;
    }
  int partial = 0;
  for (const auto& [block, count] : found) partial += count != 0 && count != cells[block] ? 1 : 0;
  EXPECT_EQ(partial, 1);
}

TEST(Block, TakesEveryBlockEquallyOften) {
  constexpr int kTrials = 10'000, kSide = 64, kBlocks = 5;
  std::vector<int> counts((kSide / 16) * (kSide / 16), 0);
  for (int trial = 0; trial < kTrials; ++trial) {
    const Topology t = block_topology(kSide, kSide, kBlocks * 256, pattern_key(trial));
    for (int block = 0; block < 16; ++block)
      counts[static_cast<std::size_t>(block)] += t.contains(block / 4 * 16, block % 4 * 16) ? 1 : 0;
  }
  EXPECT_TRUE(uniform_cells(counts, kTrials, kBlocks));
}

}  // namespace
}  // namespace tulle
