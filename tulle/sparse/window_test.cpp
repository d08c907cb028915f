#include "tulle/sparse/window.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <stdexcept>

#include "tulle/base/parallel.h"
#include "tulle/sparse/sampling.h"

namespace tulle {
namespace {

// Whether a source is among the `width` around a target's place, by the definition.
bool is_near(std::uint64_t key, std::int32_t rows, std::int32_t cols, std::int64_t width) {
  const auto row = static_cast<std::int64_t>(key / static_cast<std::uint64_t>(cols)),
             source = static_cast<std::int64_t>(key % static_cast<std::uint64_t>(cols));
  const std::int64_t middle = row * cols / rows;
  for (const std::int64_t turn : {-cols, 0, +cols}) {
    const std::int64_t away = source + turn - middle;
    if (away >= -(width / 2) && away < width - width / 2) return true;
  }
  return false;
}

std::int64_t near_of(const std::vector<std::uint64_t>& keys, std::int32_t rows, std::int32_t cols,
                     std::int64_t width) {
  return std::ranges::count_if(keys, [&](std::uint64_t key) { return is_near(key, rows, cols, width); });
}

TEST(Window, HoldsItsShareOfTheConnectionsAndTheRestLieAnywhere) {
  for (const auto& [rows, cols] : {std::pair{3000, 5000}, {5000, 3000}, {700, 700}}) {
    constexpr std::int64_t kM = 10'000, kWidth = 50;
    for (const double share : {0.0, 0.5, 0.9, 1.0}) {
      const Topology topology = windowed_topology(rows, cols, kM, {kWidth, share}, {.seed = 3});
      EXPECT_EQ(topology.nnz(), kM);
      const double near = share * kM, far = kM - near, chance = double{kWidth} / cols;
      const double found = static_cast<double>(near_of(topology.keys(), rows, cols, kWidth));
      EXPECT_NEAR(found, near + far * chance, 4 * std::sqrt(far * chance) + 1) << rows << ", " << share;
    }
  }
}

TEST(Window, IsDrawnFromEvenly) {
  // All draws near, half of each window: every place in it as often, from its first to its last.
  constexpr std::int32_t kSide = 20'000, kWidth = 8;
  const WindowLaw law{kWidth, 1.0};
  const Topology topology = windowed_topology(kSide, kSide, kSide * kWidth / 2, law, {.seed = 4});
  std::vector<std::int64_t> at(kWidth, 0), with(kWidth + 1, 0);
  for (std::int32_t row = 0; row < kSide; ++row) {
    for (const std::int32_t source : topology.row(row))
      ++at[static_cast<std::size_t>((source - window_start(law, kSide, kSide, row) + kSide) % kSide)];
    ++with[topology.row(row).size()];
  }
  for (const std::int64_t count : at) EXPECT_NEAR(count, kSide / 2, 4 * std::sqrt(kSide / 4.0));
  EXPECT_GT(with[2], 0) << "targets have different numbers of connections";
  EXPECT_GT(with[6], 0);
}

TEST(Window, GivesTheSameCellsForAnyNumberOfThreads) {
  const auto drawn = [](int threads) {
    set_thread_count(threads);
    const Topology topology = windowed_topology(50'000, 40'000, 100'000, {1000, 0.8}, {.seed = 5});
    std::vector<std::uint64_t> keys = windowed_absent_cells(topology, 30'000, {1000, 0.8}, {.seed = 6});
    const std::vector<std::uint64_t> start = topology.keys();
    keys.insert(keys.end(), start.begin(), start.end());
    set_thread_count(0);
    return keys;
  };
  const std::vector<std::uint64_t> one = drawn(1);
  for (const int threads : {2, 3, 4}) EXPECT_EQ(drawn(threads), one);
}

TEST(Window, GrowsDistinctCellsThatWereNotThereInTheSameShare) {
  constexpr std::int32_t kRows = 2000, kCols = 3000;
  constexpr std::int64_t kWidth = 40, kCount = 5000;
  const WindowLaw law{kWidth, 0.8};
  const Topology topology = windowed_topology(kRows, kCols, 20'000, law, {.seed = 7});
  const std::vector<std::uint64_t> cells = windowed_absent_cells(topology, kCount, law, {.seed = 8});
  ASSERT_EQ(std::ssize(cells), kCount);
  EXPECT_TRUE(std::ranges::is_sorted(cells));
  EXPECT_EQ(std::set<std::uint64_t>(cells.begin(), cells.end()).size(), cells.size());
  std::vector<std::uint64_t> absent = cells;
  strike_out_existing(topology, absent);
  EXPECT_EQ(absent, cells);
  const double chance = double{kWidth} / kCols, far = 0.2 * kCount;
  EXPECT_NEAR(static_cast<double>(near_of(cells, kRows, kCols, kWidth)), 0.8 * kCount + far * chance,
              4 * std::sqrt(far * chance) + 1);
}

TEST(Window, ThatIsFullLeavesTheRestToAllCells) {
  constexpr std::int32_t kSide = 100;
  const WindowLaw law{4, 1.0};
  const std::vector<std::uint64_t> all = windowed_topology(kSide, kSide, 1000, law, {.seed = 9}).keys();
  EXPECT_EQ(std::ssize(all), 1000);
  EXPECT_EQ(near_of(all, kSide, kSide, 4), 4 * kSide);
  EXPECT_EQ(windowed_topology(kSide, kSide, kSide * kSide, law, {.seed = 9}).nnz(), kSide * kSide);
  const Topology almost = windowed_topology(kSide, kSide, kSide * kSide - 3, law, {.seed = 9});
  EXPECT_EQ(windowed_absent_cells(almost, 100, law, {.seed = 10}).size(), 3u);
  EXPECT_THROW(windowed_topology(2, 2, 5, law, {.seed = 9}), std::invalid_argument);
}

TEST(Window, AsWideAsTheLayerOrOfNoWidthIsNoWindow) {
  const Random key{.seed = 11};
  EXPECT_EQ(windowed_topology(90, 80, 500, {0, 0.9}, key).keys(), random_topology(90, 80, 500, key).keys());
  const Topology wide = windowed_topology(90, 80, 500, {1000, 0.9}, key);
  EXPECT_EQ(wide.nnz(), 500);
}

}  // namespace
}  // namespace tulle
