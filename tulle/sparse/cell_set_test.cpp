#include "tulle/sparse/cell_set.h"

#include <gtest/gtest.h>

#include <set>
#include <stdexcept>

#include "tulle/sparse/sampling.h"

namespace tulle {
namespace {

TEST(CellSet, CountsEveryCellOnceOnSmallLayers) {
  CellSet set(1003);
  EXPECT_TRUE(set.exact());
  std::set<std::uint64_t> oracle;
  const Random random{.seed = 3};
  for (std::uint64_t round = 0; round < 40; ++round) {
    std::vector<std::uint64_t> keys;
    for (std::uint64_t i = 0; i < 50; ++i) keys.push_back(random.below(1003, round * 50 + i));
    oracle.insert(keys.begin(), keys.end());
    set.insert(keys);
    EXPECT_EQ(set.count(), static_cast<double>(oracle.size()));
  }
}

TEST(CellSet, EstimatesLargeLayersWithinThreePercent) {
  const std::uint64_t cells = CellSet::kExactCells * 8;
  const Bijection bijection(cells, {.seed = 5});
  CellSet set(cells);
  EXPECT_FALSE(set.exact());
  std::uint64_t inserted = 0;
  for (const std::uint64_t wanted : {1'000u, 30'000u, 60'000u, 1'000'000u, 10'000'000u}) {
    std::vector<std::uint64_t> keys;
    for (; inserted < wanted; ++inserted) keys.push_back(bijection(inserted));
    set.insert(keys);
    set.insert(keys);  // again: changes nothing
    EXPECT_NEAR(set.count() / static_cast<double>(wanted), 1.0, 0.03) << wanted;
  }
}

TEST(CellSet, ComesBackFromItsBytes) {
  for (const std::uint64_t cells : {std::uint64_t{77}, CellSet::kExactCells + 1}) {
    CellSet set(cells);
    const std::uint64_t keys[] = {0, 5, 76, 5};
    set.insert(keys);
    EXPECT_EQ(CellSet(cells, set.bytes()), set);
  }
}

TEST(CellSet, RefusesWhatIsNoSuchSet) {
  CellSet set(77);
  const std::uint64_t outside[] = {77};
  EXPECT_THROW(set.insert(outside), std::invalid_argument);
  EXPECT_THROW(CellSet(77, std::vector<std::uint8_t>(9)), std::invalid_argument);
  EXPECT_THROW(CellSet(77, std::vector<std::uint8_t>(10, 0xff)), std::invalid_argument);
  EXPECT_THROW(CellSet(CellSet::kExactCells + 1, std::vector<std::uint8_t>(1 << 14, 0xff)),
               std::invalid_argument);
}

}  // namespace
}  // namespace tulle
