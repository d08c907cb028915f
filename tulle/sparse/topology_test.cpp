#include "tulle/sparse/topology.h"

#include <gtest/gtest.h>

#include <random>
#include <stdexcept>

#include "tulle/sparse/sampling.h"
#include "tulle/sparse/test_statistics.h"
#include "tulle/sparse/topology_testing.h"

namespace tulle {
namespace {

using Keys = std::vector<std::uint64_t>;

TEST(Topology, TellsItsShapeItsRowsAndItsConnections) {
  const Topology t = example_topology();
  EXPECT_EQ(t.rows(), 3);
  EXPECT_EQ(t.cols(), 4);
  EXPECT_EQ(t.nnz(), 5);
  EXPECT_EQ(t.cells(), 12u);
  EXPECT_DOUBLE_EQ(t.density(), 5.0 / 12.0);
  EXPECT_EQ(t.row(1).size(), 0u);
  EXPECT_EQ(t.row(2)[2], 2);
  for (std::int32_t target = 0; target < 3; ++target)
    for (std::int32_t source = 0; source < 4; ++source)
      EXPECT_EQ(t.contains(target, source), (target == 0 && source % 2 == 1) || (target == 2 && source < 3));
}

TEST(Topology, CountsCellsBeyond32Bits) {
  const Topology wide(5, 2'000'000'000, {0, 0, 0, 0, 0, 1}, {1'999'999'999});
  EXPECT_EQ(wide.cells(), 10'000'000'000u);
  EXPECT_EQ(wide.keys(), Keys{9'999'999'999u});
  EXPECT_EQ(Topology::from_keys(5, 2'000'000'000, wide.keys()), wide);
}

// Each form of row pointers: as made, shrunk to 4 bytes, and to none.
TEST(Topology, IsTheSameWhateverItsRowPointersTake) {
  const Topology uneven = example_topology(), even(3, 4, {0, 2, 4, 6}, {0, 3, 1, 2, 0, 1});
  for (const Topology& wide : {uneven, even}) {
    Topology shrunk = wide;
    shrunk.shrink_row_ptr();
    EXPECT_TRUE(wide.row_ptr().is_wide());
    EXPECT_FALSE(shrunk.row_ptr().is_wide());
    EXPECT_EQ(shrunk.row_ptr().is_even(), wide == even);
    EXPECT_THROW(shrunk.row_ptr().wide(), std::logic_error);
    EXPECT_EQ(shrunk, wide);
    EXPECT_EQ(shrunk.hash(), wide.hash());
    EXPECT_EQ(shrunk.keys(), wide.keys());
    EXPECT_EQ(shrunk.row_ptr().all(), wide.row_ptr().all());
    EXPECT_EQ(balanced_rows(shrunk.row_ptr(), 2), balanced_rows(wide.row_ptr().wide(), 2));
    for (std::int64_t k = 0; k < 7; ++k) {
      const auto begins = wide.row_ptr().wide();
      const auto after = std::upper_bound(begins.begin() + 1, begins.end(), k) - begins.begin();
      EXPECT_EQ(shrunk.row_ptr().first_after({1, 4}, k), after) << k;
    }
  }
  EXPECT_FALSE(uneven == even);
}

// What ranks compare, and files remember; computed by XXH3 of the arrays as a whole.
TEST(Topology, KeepsTheHashesThatArraysOfItsRowPointersHave) {
  EXPECT_EQ(example_topology().hash(), 0x13adf577f468efcau);
  Topology even = full_topology(3000, 2);
  even.shrink_row_ptr();
  EXPECT_EQ(even.hash(), 0x553cbf2d4f781d25u);
}

TEST(Topology, EmptyOnesAreValid) {
  EXPECT_EQ(Topology().nnz(), 0);
  EXPECT_EQ(Topology().density(), 0.0);
  EXPECT_EQ(Topology(), Topology(0, 0, {0}, {}));
  EXPECT_EQ(Topology::from_keys(0, 5, {}), Topology(0, 5, {0}, {}));
  EXPECT_EQ(Topology::from_keys(2, 0, {}), Topology(2, 0, {0, 0, 0}, {}));
}

struct Malformed {
  const char* name;
  std::int32_t rows, cols;
  RawVector<std::int64_t> row_ptr;
  RawVector<std::int32_t> columns;
};

class EveryMalformedTopology : public ::testing::TestWithParam<Malformed> {};

TEST_P(EveryMalformedTopology, IsRefused) {
  const Malformed& m = GetParam();
  EXPECT_THROW(Topology(m.rows, m.cols, m.row_ptr, m.columns), std::invalid_argument);
}

INSTANTIATE_TEST_SUITE_P(Topology, EveryMalformedTopology,
                         ::testing::ValuesIn(std::vector<Malformed>{
                             {"UnsortedColumns", 1, 4, {0, 2}, {3, 1}},
                             {"DuplicateColumns", 1, 4, {0, 2}, {1, 1}},
                             {"ColumnTooLarge", 1, 4, {0, 1}, {4}},
                             {"ColumnNegative", 1, 4, {0, 1}, {-1}},
                             {"ColumnWithoutColumns", 1, 0, {0, 1}, {0}},
                             {"NegativeRows", -1, 4, {}, {}},
                             {"NegativeColumns", 1, -4, {0, 0}, {}},
                             {"RowPtrTooShort", 2, 4, {0, 1}, {1}},
                             {"RowPtrTooLong", 1, 4, {0, 1, 1}, {1}},
                             {"RowPtrEmpty", 0, 4, {}, {}},
                             {"RowPtrStartsLate", 2, 4, {1, 1, 1}, {1}},
                             {"RowPtrEndsEarly", 2, 4, {0, 1, 1}, {1, 2}},
                             {"RowPtrEndsLate", 2, 4, {0, 1, 3}, {1, 2}},
                             {"RowPtrDecreases", 3, 4, {0, 2, 1, 2}, {1, 2}},
                             {"RowPtrLeavesTheArray", 2, 4, {0, 9, 2}, {1, 2}},
                             {"RowPtrNegative", 2, 4, {0, -3, 2}, {1, 2}},
                         }),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(Topology, FromKeysRefusesKeysThatAreUnsortedRepeatedOrOutside) {
  const std::pair<const char*, Keys> cases[] = {
      {"unsorted in a row", {2, 1}}, {"unsorted across rows", {6, 1}},     {"repeated", {1, 5, 5}},
      {"outside", {1, 8}},           {"far outside", {~std::uint64_t{0}}},
  };
  for (const auto& [name, keys] : cases)
    EXPECT_THROW(Topology::from_keys(2, 4, keys), std::invalid_argument) << name;
  EXPECT_THROW(Topology::from_keys(2, 0, Keys{0}), std::invalid_argument);
  EXPECT_THROW(Topology::from_keys(2, 0, Keys(10'000)), std::invalid_argument);  // of several threads
  EXPECT_THROW(Topology::from_keys(0, 4, Keys{0}), std::invalid_argument);
  EXPECT_THROW(Topology::from_keys(-1, 4, Keys{0}), std::invalid_argument);
  EXPECT_THROW(Topology::from_keys(4, -1, Keys{0}), std::invalid_argument);
}

TEST(Topology, KeysNameEachConnectionInOrderAndRoundTrip) {
  EXPECT_EQ(example_topology().keys(), (Keys{1, 3, 8, 9, 10}));
  EXPECT_EQ(Topology::from_keys(3, 4, example_topology().keys()), example_topology());
}

TEST(TopologyHash, IsTheSameForEqualTopologiesAndForEver) {
  EXPECT_EQ(example_topology().hash(), Topology::from_keys(3, 4, example_topology().keys()).hash());
  EXPECT_EQ(example_topology().hash(), 1418059353242005450ull) << "part of checkpoints: must never change";
}

TEST(TopologyHash, ChangesWithEveryConnectionEveryRowAndTheShape) {
  const std::uint64_t hash = example_topology().hash();
  EXPECT_NE(Topology(3, 4, {0, 2, 2, 5}, {1, 2, 0, 1, 2}).hash(), hash) << "another column";
  EXPECT_NE(Topology(3, 4, {0, 1, 2, 5}, {1, 3, 0, 1, 2}).hash(), hash) << "another row";
  EXPECT_NE(Topology(3, 5, {0, 2, 2, 5}, {1, 3, 0, 1, 2}).hash(), hash) << "another width";
  EXPECT_NE(Topology(2, 0, {0, 0, 0}, {}).hash(), Topology(2, 1, {0, 0, 0}, {}).hash());
  EXPECT_NE(Topology(1, 2, {0, 0}, {}).hash(), Topology(2, 2, {0, 0, 0}, {}).hash());
}

TEST(SourceIndex, OfASmallExampleReadsItsColumns) {
  const SourceIndex index = make_source_index(example_topology(), 3);
  EXPECT_EQ(index.source_ptr, (std::vector<std::int64_t>{0, 1, 3, 4, 5}));
  EXPECT_EQ(index.near_targets, (std::vector<std::uint16_t>{2, 0, 2, 2, 0}));
  EXPECT_EQ(index.positions, (std::vector<std::uint32_t>{2, 0, 3, 4, 1}));
}

TEST(SourceIndex, TilesCountTheirTargetsFromTheirFirst) {
  const SourceIndex index = make_source_index(example_topology(), 2);
  EXPECT_EQ(index.tiles, 2);
  EXPECT_EQ(index.source_ptr, (std::vector<std::int64_t>{0, 0, 1, 1, 2, 3, 4, 5, 5}));
  EXPECT_EQ(index.near_targets, (std::vector<std::uint16_t>{0, 0, 0, 0, 0}));
  EXPECT_EQ(index.positions, (std::vector<std::uint32_t>{0, 1, 2, 3, 4}));
}

TEST(SourceIndex, CountsTargetsFurtherThan16BitsWhereItsTilesAreWider) {
  const Topology last = Topology::from_keys(70000, 2, Keys{139999});
  EXPECT_EQ(make_source_index(last, 70000).target(0), 69999);
  EXPECT_EQ(make_source_index(last, 65536).target(0), 69999 - 65536);
  EXPECT_TRUE(make_source_index(last, 65536).far_targets.empty());
}

// Up to 29 x 29, of any density.
Topology small_random_topology(std::mt19937_64& random) {
  const auto rows = static_cast<std::int32_t>(random() % 30), cols = static_cast<std::int32_t>(random() % 30);
  const auto links = static_cast<std::int64_t>(random() % (static_cast<std::uint64_t>(rows * cols) + 1));
  return random_topology(rows, cols, links, {.seed = random()});
}

TEST(RowTiles, CutEveryRowAtTheTiles) {
  SCOPED_TRACE(seed_note());
  std::mt19937_64 random(test_seed());
  for (int trial = 0; trial < 200; ++trial) {
    const Topology t = small_random_topology(random);
    const std::int32_t rows = t.rows(), cols = t.cols();
    const auto width = static_cast<std::int32_t>(1 + random() % 31);
    const RowTiles tiles = make_row_tiles(t, width);
    ASSERT_EQ(tiles.cuts.size(), static_cast<std::size_t>((tiles.tiles - 1) * rows))
        << "nothing for one tile";
    ASSERT_GE(tiles.tiles * width, cols);
    for (std::int32_t r = 0; r < rows; ++r) {
      const auto start = [&](std::int32_t tile) {
        if (tile == 0) return t.row_ptr()[static_cast<std::size_t>(r)];
        if (tile == tiles.tiles) return t.row_ptr()[static_cast<std::size_t>(r) + 1];
        return tiles.cuts[static_cast<std::size_t>((tile - 1) * rows + r)];
      };
      for (std::int32_t tile = 0; tile < tiles.tiles; ++tile) ASSERT_LE(start(tile), start(tile + 1));
      for (std::int32_t tile = 0; tile < tiles.tiles; ++tile)
        for (std::int64_t k = start(tile); k < start(tile + 1); ++k)
          ASSERT_EQ(t.columns()[static_cast<std::size_t>(k)] / width, tile);
    }
  }
}

TEST(TileWidth, LeavesAboutTenConnectionsAndNeverCutsWhatIsTooSparse) {
  EXPECT_EQ(tile_width(1000, 1.0), 128);
  EXPECT_EQ(tile_width(4000, 0.05), 208);   // 20 tiles
  EXPECT_EQ(tile_width(1000, 0.05), 1000);  // fits L2, and tiles of 200 would not fit L1
  EXPECT_EQ(tile_width(1000, 0.01), 1000);  // 10 connections a row: not cut
  EXPECT_EQ(tile_width(50'000'000, 2e-7), 50'000'000);
  EXPECT_EQ(tile_width(1, 1.0), 1);
  EXPECT_GT(tile_width(0, 0.0), 0);
  EXPECT_EQ(tile_width(2147483646, 1e-9), 2147483646);
}

TEST(SourceIndex, IsTheTransposeOfEveryRandomTopology) {
  SCOPED_TRACE(seed_note());
  std::mt19937_64 random(test_seed());
  for (int trial = 0; trial < 200; ++trial) {
    const Topology t = small_random_topology(random);
    const std::int32_t cols = t.cols();
    const auto width = static_cast<std::int32_t>(1 + random() % 31);
    const SourceIndex index = make_source_index(t, width);
    ASSERT_EQ(index.source_ptr.size(), static_cast<std::size_t>(index.tiles * cols) + 1);
    ASSERT_EQ(index.source_ptr.back(), t.nnz());
    const Keys keys = t.keys();
    std::vector<bool> seen(keys.size(), false);
    for (std::size_t place = 0; place + 1 < index.source_ptr.size(); ++place) {
      const auto tile = static_cast<std::int32_t>(place) / cols, s = static_cast<std::int32_t>(place) % cols;
      for (auto i = static_cast<std::size_t>(index.source_ptr[place]);
           i < static_cast<std::size_t>(index.source_ptr[place + 1]); ++i) {
        const std::uint32_t position = index.positions[i];
        ASSERT_LT(index.target(i), width);
        ASSERT_EQ(keys[position], static_cast<std::uint64_t>((tile * width + index.target(i)) * cols + s));
        ASSERT_FALSE(seen[position]);
        seen[position] = true;
        ASSERT_TRUE(i == static_cast<std::size_t>(index.source_ptr[place]) ||
                    index.target(i - 1) < index.target(i))
            << "targets ascend";
      }
    }
  }
}

}  // namespace
}  // namespace tulle
