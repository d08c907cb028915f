#include "tulle/sparse/numbering.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "tulle/base/parallel.h"
#include "tulle/base/random.h"
#include "tulle/sparse/sampling.h"

namespace tulle {
namespace {

using ::testing::ElementsAre;

TEST(Numbering, OrdersRowsByTheirFirstSourcesAndPutsEmptyOnesLast) {
  const Topology rows(5, 9, {0, 2, 2, 3, 5, 6}, {4, 8, 7, 1, 2, 4});
  EXPECT_THAT(rows_by_first_source(rows), ElementsAre(3, 0, 4, 2, 1));
  const Topology none(2, 9, {0, 0, 0}, {});
  EXPECT_THAT(rows_by_first_source(none), ElementsAre(0, 1));
}

TEST(Numbering, MovesRowsWhole) {
  const Topology rows(3, 9, {0, 2, 2, 3}, {4, 8, 7});
  EXPECT_EQ(with_rows(rows, std::vector<std::int32_t>{2, 0, 1}), Topology(3, 9, {0, 1, 3, 3}, {7, 4, 8}));
  EXPECT_THROW(with_rows(rows, std::vector<std::int32_t>{2, 0}), std::invalid_argument);
}

// Large enough for every step to be shared out.
TEST(Numbering, IsThatOfAStableSortForAnyNumberOfThreads) {
  constexpr std::int32_t kRows = 70'000, kCols = 9'001;
  const Topology drawn = random_topology(kRows, kCols, 140'000, Random{.seed = 1});
  std::vector<std::int32_t> order(kRows);
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(
      order, {}, [&](std::int32_t r) { return drawn.row(r).empty() ? kCols : drawn.row(r).front(); });
  for (int threads = 1; threads <= 3; ++threads) {
    set_thread_count(threads);
    EXPECT_TRUE(std::ranges::equal(rows_by_first_source(drawn), order)) << threads << " threads";
    const Topology moved = with_rows(drawn, order);
    ASSERT_EQ(moved.nnz(), drawn.nnz());
    std::int32_t equal = 0;
    for (std::int32_t r = 0; r < kRows; ++r)
      equal += std::ranges::equal(moved.row(r), drawn.row(order[static_cast<std::size_t>(r)])) ? 1 : 0;
    EXPECT_EQ(equal, kRows) << threads << " threads";
  }
  set_thread_count(0);
}

TEST(Numbering, LeavesRowsThatAreAllAsLongSo) {
  const Topology drawn = fixed_fan_in_topology(6'000, 500, 3, {.seed = 1});
  Topology moved = with_rows(drawn, rows_by_first_source(drawn));
  moved.shrink_row_ptr();
  EXPECT_TRUE(moved.row_ptr().is_even());
}

}  // namespace
}  // namespace tulle
