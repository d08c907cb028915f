#include "tulle/sparse/sampling.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <stdexcept>

#include "tulle/base/parallel.h"
#include "tulle/sparse/test_statistics.h"

namespace tulle {
namespace {

TEST(Bijection, HitsEveryNumberOnce) {
  // Stored shuffles below 65536, Feistel networks from there on; 65537 and 100003 walk cycles.
  for (const std::uint64_t n : {1, 2, 3, 65535, 65536, 65537, 100003, 131072, 131073}) {
    const Bijection bijection(n, {.seed = trial_seed(0), .layer = 3});
    std::vector<bool> hit(n, false);
    for (std::uint64_t i = 0; i < n; ++i) {
      const std::uint64_t image = bijection(i);
      ASSERT_LT(image, n) << "n = " << n << ", " << seed_note();
      ASSERT_FALSE(hit[image]) << "n = " << n << ", " << seed_note();
      hit[image] = true;
    }
  }
}

TEST(Bijection, OfAHugeRangeStaysInsideAndDistinct) {
  const std::uint64_t n = std::uint64_t{2'147'483'647} * 2'147'483'647;  // the largest layer there can be
  const Bijection bijection(n, {.seed = trial_seed(0)});
  std::set<std::uint64_t> images;
  for (std::uint64_t i = 0; i < 10'000; ++i) images.insert(bijection(i));
  EXPECT_EQ(images.size(), 10'000u);
  EXPECT_LT(*images.rbegin(), n);
  EXPECT_GT(*images.rbegin(), n / 100 * 99) << "and reaches its upper end";
}

TEST(Bijection, DependsOnEveryPartOfItsKey) {
  for (const std::uint64_t n : {1000, 100'000}) {
    const auto first = [n](const Random& key) {
      const Bijection bijection(n, key);
      std::vector<std::uint64_t> images;
      for (std::uint64_t i = 0; i < 20; ++i) images.push_back(bijection(i));
      return images;
    };
    const auto images = first({.seed = 1});
    EXPECT_EQ(first({.seed = 1}), images);
    EXPECT_NE(first({.seed = 2}), images);
    EXPECT_NE(first({.seed = 1, .stream = Stream::kGrow}), images);
    EXPECT_NE(first({.seed = 1, .layer = 1}), images);
    EXPECT_NE(first({.seed = 1, .event = 1}), images);
  }
}

TEST(SortKeys, EqualsStdSort) {
  SCOPED_TRACE(seed_note());
  std::mt19937_64 random(test_seed());
  for (const std::uint64_t limit :
       {std::uint64_t{1}, std::uint64_t{2}, std::uint64_t{2047}, std::uint64_t{2048}, std::uint64_t{2049},
        std::uint64_t{1} << 22, (std::uint64_t{1} << 33) + 5, std::uint64_t{1} << 62, ~std::uint64_t{0}}) {
    for (const std::size_t size : {0, 1, 2, 17, 1000, 20'000}) {
      std::vector<std::uint64_t> keys(size);
      for (auto& key : keys) key = random() % limit;
      if (size > 0) keys[size / 2] = limit - 1;
      auto expected = keys;
      std::sort(expected.begin(), expected.end());
      sort_keys(keys, limit);
      EXPECT_EQ(keys, expected) << size << " keys below " << limit;
    }
  }
}

TEST(SortKeys, PutsClumpsInOrderToo) {
  const Random dice{.seed = trial_seed(0)};
  constexpr std::uint64_t kLimit = std::uint64_t{1} << 45, kClumps = 3;
  std::vector<std::uint64_t> keys;
  for (std::uint64_t i = 0; i < 100'000; ++i)
    keys.push_back(kLimit / kClumps * dice.below(kClumps, 2 * i) + dice.below(5000, 2 * i + 1));
  auto expected = keys;
  std::ranges::sort(expected);
  sort_keys(keys, kLimit);
  EXPECT_EQ(keys, expected);
}

TEST(RandomTopology, HasExactlyTheWantedConnections) {
  for (const auto& [rows, cols] : {std::pair{1, 1}, {1, 9}, {9, 1}, {13, 7}, {300, 250}}) {
    const std::int64_t cells = std::int64_t{rows} * cols;
    for (const std::int64_t m :
         {std::int64_t{0}, std::int64_t{1}, cells / 2, cells / 2 + 1, cells - 1, cells}) {
      const Topology t =
          random_topology(rows, cols, m, {.seed = trial_seed(0)});  // from_keys() checks the order
      EXPECT_EQ(t.nnz(), m) << rows << " x " << cols;
      EXPECT_EQ(t.rows(), rows);
      EXPECT_EQ(t.cols(), cols);
    }
  }
}

TEST(RandomTopology, WithoutCellsIsEmpty) {
  EXPECT_EQ(random_topology(0, 5, 0, {.seed = 1}).nnz(), 0);
  EXPECT_EQ(random_topology(5, 0, 0, {.seed = 1}).nnz(), 0);
}

TEST(RandomTopology, RefusesMoreConnectionsThanCellsAndNegativeCounts) {
  EXPECT_THROW(random_topology(3, 4, 13, {.seed = 1}), std::invalid_argument);
  EXPECT_THROW(random_topology(3, 4, -1, {.seed = 1}), std::invalid_argument);
}

TEST(RandomTopology, IsAFunctionOfSeedAndLayer) {
  for (const auto& [rows, cols, m] : {std::array{30, 20, 60}, {30, 20, 540}, {400, 300, 1000}}) {
    const Topology t = random_topology(rows, cols, m, {.seed = 1, .layer = 2});
    EXPECT_EQ(random_topology(rows, cols, m, {.seed = 1, .layer = 2}), t);
    EXPECT_NE(random_topology(rows, cols, m, {.seed = 2, .layer = 2}), t);
    EXPECT_NE(random_topology(rows, cols, m, {.seed = 1, .layer = 3}), t);
  }
}

TEST(FixedFanInTopology, GivesEveryTargetExactlyItsFanIn) {
  for (const std::int32_t fan_in : {0, 1, 7, 12, 13}) {
    const Topology t = fixed_fan_in_topology(50, 13, fan_in, {.seed = trial_seed(0)});
    ASSERT_EQ(t.nnz(), 50 * fan_in);
    for (std::int32_t r = 0; r < 50; ++r) EXPECT_EQ(static_cast<std::int32_t>(t.row(r).size()), fan_in);
  }
  EXPECT_EQ(fixed_fan_in_topology(50, 13, 13, {.seed = 1}), full_topology(50, 13));
}

TEST(FixedFanInTopology, RefusesAFanInThatCannotBe) {
  EXPECT_THROW(fixed_fan_in_topology(5, 13, 14, {.seed = 1}), std::invalid_argument);
  EXPECT_THROW(fixed_fan_in_topology(5, 13, -1, {.seed = 1}), std::invalid_argument);
}

TEST(FixedFanInTopology, IsAFunctionOfSeedAndLayer) {
  const Topology t = fixed_fan_in_topology(30, 20, 4, {.seed = 1, .layer = 2});
  EXPECT_EQ(fixed_fan_in_topology(30, 20, 4, {.seed = 1, .layer = 2}), t);
  EXPECT_NE(fixed_fan_in_topology(30, 20, 4, {.seed = 2, .layer = 2}), t);
  EXPECT_NE(fixed_fan_in_topology(30, 20, 4, {.seed = 1, .layer = 3}), t);
}

TEST(FullTopology, HoldsEveryCell) {
  EXPECT_EQ(full_topology(2, 3), Topology(2, 3, {0, 3, 6}, {0, 1, 2, 0, 1, 2}));
  EXPECT_EQ(full_topology(0, 3).nnz(), 0);
}

// Cells that are absent from `t`, sorted and distinct.
void expect_absent(const Topology& t, const std::vector<std::uint64_t>& cells) {
  const auto width = static_cast<std::uint64_t>(t.cols());
  for (std::size_t i = 0; i < cells.size(); ++i) {
    ASSERT_LT(cells[i], t.cells());
    ASSERT_FALSE(
        t.contains(static_cast<std::int32_t>(cells[i] / width), static_cast<std::int32_t>(cells[i] % width)));
    ASSERT_TRUE(i == 0 || cells[i - 1] < cells[i]) << "sorted and without repeats";
  }
}

TEST(RandomAbsentCells, AreExactlyAsManyAsWantedOrAllAtEveryDensity) {
  SCOPED_TRACE(seed_note());
  for (const auto& [rows, cols] : {std::pair{40, 25}, {400, 250}}) {  // stored and Feistel
    const std::int64_t cells = std::int64_t{rows} * cols;
    for (const double density : {0.0, 0.01, 0.499, 0.501, 0.9, 0.999, 1.0}) {
      const auto nnz = static_cast<std::int64_t>(density * static_cast<double>(cells));
      const Topology t = random_topology(rows, cols, nnz, {.seed = trial_seed(1)});
      const std::int64_t absent = cells - nnz;
      for (const std::int64_t wanted : {std::int64_t{0}, std::int64_t{1}, absent / 2, absent, absent + 5}) {
        const auto grown = random_absent_cells(t, wanted, {.seed = trial_seed(2), .stream = Stream::kGrow});
        EXPECT_EQ(static_cast<std::int64_t>(grown.size()), std::min(wanted, absent)) << "density " << density;
        expect_absent(t, grown);
      }
    }
  }
}

TEST(RandomAbsentCells, OfANegativeCountOrAnEmptyLayerAreNone) {
  EXPECT_TRUE(random_absent_cells(Topology(2, 2, {0, 0, 0}, {}), -3, {.seed = 1}).empty());
  EXPECT_TRUE(random_absent_cells(Topology(), 3, {.seed = 1}).empty());
}

TEST(RandomAbsentCells, DependOnTheEvent) {
  for (const std::int64_t nnz : {100, 900}) {
    const Topology t = random_topology(40, 25, nnz, {.seed = 1});
    const auto first = random_absent_cells(t, 50, {.seed = 1, .stream = Stream::kGrow, .event = 1});
    EXPECT_EQ(random_absent_cells(t, 50, {.seed = 1, .stream = Stream::kGrow, .event = 1}), first);
    EXPECT_NE(random_absent_cells(t, 50, {.seed = 1, .stream = Stream::kGrow, .event = 2}), first);
  }
}

struct Isolated {
  std::int64_t targets = 0, sources = 0;
};

Isolated isolated(const Topology& topology) {
  Isolated none;
  std::vector<bool> used(static_cast<std::size_t>(topology.cols()), false);
  for (const std::int32_t source : topology.columns()) used[static_cast<std::size_t>(source)] = true;
  none.sources = std::count(used.begin(), used.end(), false);
  for (std::int32_t t = 0; t < topology.rows(); ++t) none.targets += topology.row(t).empty();
  return none;
}

TEST(RepairIsolated, GivesEveryNeuronAConnectionAndKeepsTheirNumber) {
  for (const RepairInfo& info : repairs())
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      const Topology drawn = random_topology(80, 120, 200, {.seed = seed});
      const Isolated before = isolated(drawn);
      ASSERT_GT(before.targets + before.sources, 0);
      const Topology repaired = repair_isolated(drawn, info.repair, {.seed = seed});
      const Isolated after = isolated(repaired);
      EXPECT_EQ(repaired.nnz(), 200);
      const bool in = info.repair == Repair::kIn || info.repair == Repair::kBoth;
      const bool out = info.repair == Repair::kOut || info.repair == Repair::kBoth;
      EXPECT_EQ(after.targets, in ? 0 : before.targets) << info.name;
      EXPECT_EQ(after.sources, out ? 0 : before.sources) << info.name;
      EXPECT_EQ(repair_isolated(drawn, info.repair, {.seed = seed}), repaired);
    }
}

TEST(RepairIsolated, TakesFromTheHighestDegrees) {
  // Target 0 has 4 inputs, target 1 has 2, targets 2 to 4 none: 0 gives two, then the tie at 2 goes to 0.
  const std::uint64_t keys[] = {0, 1, 2, 3, 4, 5};
  const Topology repaired = repair_isolated(Topology::from_keys(5, 4, keys), Repair::kIn, {.seed = 1});
  EXPECT_EQ(repaired.row(0).size(), 1u);
  EXPECT_EQ(repaired.row(1).size(), 2u);
  for (std::int32_t t = 2; t < 5; ++t) EXPECT_EQ(repaired.row(t).size(), 1u);
}

TEST(RepairIsolated, DoesWhatItCanWhereConnectionsAreFew) {
  const std::uint64_t keys[] = {0, 5};
  const Topology few = Topology::from_keys(4, 4, keys);
  EXPECT_EQ(repair_isolated(few, Repair::kBoth, {.seed = 1}), few);
  EXPECT_EQ(repair_isolated(Topology::from_keys(4, 4, std::vector<std::uint64_t>{}), Repair::kBoth, {}).nnz(),
            0);
}

// Large enough for every step to be shared out.
TEST(Sampling, GivesTheSameCellsForAnyNumberOfThreads) {
  constexpr std::int32_t kRows = 70'000, kCols = 90'001;
  const Random key{.seed = trial_seed(0)};
  const Random grow{.seed = trial_seed(0), .stream = Stream::kGrow};
  set_thread_count(1);
  const Topology topology = random_topology(kRows, kCols, 200'000, key);
  const std::vector<std::uint64_t> absent = random_absent_cells(topology, 60'000, grow);
  for (const int threads : {2, 3, 8}) {
    set_thread_count(threads);
    EXPECT_EQ(random_topology(kRows, kCols, 200'000, key), topology) << threads;
    EXPECT_EQ(random_absent_cells(topology, 60'000, grow), absent) << threads;
  }
  set_thread_count(0);
}

TEST(Bijection, GivesManyImagesAsItGivesEachAlone) {
  for (const std::uint64_t n :
       {std::uint64_t{1000}, std::uint64_t{70'000}, (std::uint64_t{1} << 40) - 12345}) {
    const Bijection bijection(n, {.seed = trial_seed(0)});
    for (const std::uint64_t first : {std::uint64_t{0}, std::uint64_t{3}}) {
      std::vector<std::uint64_t> images(900);
      bijection.images(first, images);
      for (std::size_t i = 0; i < images.size(); ++i)
        ASSERT_EQ(images[i], bijection(first + i)) << n << ", " << i;
    }
  }
}

}  // namespace
}  // namespace tulle
