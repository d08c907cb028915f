#include "tulle/sparse/pattern_change.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "tulle/base/random.h"

namespace tulle::testing {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct Shape {
  std::int32_t rows, cols;
};

// `count` cells drawn anywhere, those of `with` besides.
Topology pattern(const Shape& shape, int count, std::uint64_t seed,
                 const std::set<std::uint64_t>& with = {}) {
  std::set<std::uint64_t> keys = with;
  const Random random{.seed = seed};
  const std::uint64_t cells = static_cast<std::uint64_t>(shape.rows) * static_cast<std::uint64_t>(shape.cols);
  for (int i = 0; i < count; ++i) keys.insert(random.below(cells, static_cast<std::uint64_t>(i)));
  return Topology::from_keys(shape.rows, shape.cols, std::vector<std::uint64_t>(keys.begin(), keys.end()));
}

std::vector<float> numbered(const Topology& topology) {
  std::vector<float> values;
  for (std::int64_t k = 0; k < topology.nnz(); ++k) values.push_back(static_cast<float>(k + 1));
  return values;
}

// The last two have more than 2^31 and 2^32 cells.
class PatternsOfAnyShape : public ::testing::TestWithParam<Shape> {
 protected:
  void check(const Topology& from, const Topology& to) {
    std::map<std::uint64_t, float> by_cell;
    const std::vector<float> values = numbered(from);
    for (std::size_t k = 0; k < values.size(); ++k) by_cell[from.keys()[k]] = values[k];
    const std::vector<float> retained = retain_valid(from, values, to);
    const std::vector<std::uint64_t> keys = to.keys();
    ASSERT_EQ(retained.size(), keys.size());
    for (std::size_t k = 0; k < keys.size(); ++k)
      ASSERT_EQ(retained[k], by_cell.contains(keys[k]) ? by_cell[keys[k]] : 0.0f) << k;
    EXPECT_EQ(changed_pattern(from, pattern_change(from, to)), to);
  }
};

TEST_P(PatternsOfAnyShape, AGradientKeepsExactlyTheCellsThatAreStillThere) {
  const Topology old = pattern(GetParam(), 60, 1);
  std::set<std::uint64_t> some;
  for (const std::uint64_t key : old.keys())
    if (key % 3 != 0) some.insert(key);
  const Topology next = pattern(GetParam(), 30, 2, some);
  check(old, next);
  const auto keys = next.keys();
  check(old, pattern(GetParam(), 30, 3, {keys.begin(), keys.end()}));  // two versions on
  check(old, pattern(GetParam(), 60, 4));                              // all replaced
  check(old, old);
}

INSTANTIATE_TEST_SUITE_P(Shapes, PatternsOfAnyShape,
                         ::testing::Values(Shape{1, 1}, Shape{3, 200}, Shape{40, 50}, Shape{65'000, 500'000},
                                           Shape{2'000'000, 2'000'000}),
                         [](const auto& info) {
                           return std::to_string(info.param.rows) + "x" + std::to_string(info.param.cols);
                         });

TEST(RetainValid, NothingIsLeftOfAPatternThatShares) {
  const Topology a = Topology::from_keys(2, 3, std::vector<std::uint64_t>{0, 2}),
                 b = Topology::from_keys(2, 3, std::vector<std::uint64_t>{1, 3});
  EXPECT_THAT(retain_valid(a, std::vector<float>{5, 6}, b), Each(0.0f));
  EXPECT_THAT(retain_valid(a, std::vector<float>{5, 6}, a), ElementsAre(5, 6));
  EXPECT_THAT(retain_valid(Topology(2, 3, {0, 0, 0}, {}), {}, b), Each(0.0f));
}

TEST(PatternChange, TakesAboutHalfAByteForAConnectionWhenAThirdIsReplaced) {
  const Shape shape{1000, 1000};
  const Topology old = pattern(shape, 40'000, 1);
  std::set<std::uint64_t> kept;
  std::uint64_t k = 0;
  for (const std::uint64_t key : old.keys())
    if (k++ % 10 < 7) kept.insert(key);
  const Topology next = pattern(shape, 12'000, 2, kept);
  EXPECT_LE(static_cast<double>(pattern_change(old, next).size()), 0.6 * static_cast<double>(old.nnz()));
}

// An event that replaces 30 % by random growth, at densities on both sides of a half and with windows.
struct DrawnEvent {
  int connections;
  WindowLaw law;
};
class EventsThatDraw : public ::testing::TestWithParam<DrawnEvent> {};

TEST_P(EventsThatDraw, TakeAnEighthOfAByteForAConnection) {
  const Shape shape{200, 300};
  const Topology old = pattern(shape, GetParam().connections, 1);
  std::vector<std::uint64_t> kept;
  std::uint64_t k = 0;
  for (const std::uint64_t key : old.keys())
    if (k++ % 10 < 7) kept.push_back(key);
  const CellDraw draw{.law = GetParam().law,
                      .key = {.seed = 7, .stream = Stream::kGrow, .layer = 1, .event = 9}};
  const std::vector<std::uint64_t> grown = windowed_absent_cells(
      Topology::from_keys(shape.rows, shape.cols, kept), old.nnz() - std::ssize(kept), draw.law, draw.key);
  std::vector<std::uint64_t> keys(kept.size() + grown.size());
  std::ranges::merge(kept, grown, keys.begin());
  const Topology next = Topology::from_keys(shape.rows, shape.cols, keys);
  const std::vector<std::byte> change = pattern_change(old, next, grown, draw);
  EXPECT_LE(static_cast<double>(change.size()), 0.125 * static_cast<double>(old.nnz()) + 32);
  CellDraw known = draw;
  known.key.event = 0;  // is told
  EXPECT_EQ(changed_pattern(old, change, known), next);
  CellDraw wrong = draw;
  wrong.key.seed = 8;
  EXPECT_EQ(changed_pattern(old, pattern_change(old, next, grown, wrong), wrong), next) << "listed";
}

INSTANTIATE_TEST_SUITE_P(Densities, EventsThatDraw,
                         ::testing::Values(DrawnEvent{1000, {}}, DrawnEvent{60'000, {}},
                                           DrawnEvent{150'000, {}}, DrawnEvent{5000, {.width = 40}}),
                         [](const auto& info) {
                           return std::to_string(info.param.connections) +
                                  (info.param.law.width > 0 ? "_in_windows" : "");
                         });

TEST(PatternChange, OfAnotherPatternOrCutOffIsRefused) {
  const Topology old = pattern({40, 50}, 100, 1), next = pattern({40, 50}, 100, 2);
  std::vector<std::byte> change = pattern_change(old, next);
  EXPECT_THROW((void)changed_pattern(old, std::span(change).first(5)), std::invalid_argument);
  change.back() |= std::byte{0x80};
  EXPECT_THROW((void)changed_pattern(old, change), std::invalid_argument);
  change.front() = std::byte{2};
  EXPECT_THROW((void)changed_pattern(old, change), std::invalid_argument);
  change.front() = std::byte{1};
  EXPECT_THROW((void)changed_pattern(old, change), std::invalid_argument);
  EXPECT_THROW((void)pattern_change(old, pattern({50, 40}, 10, 1)), std::invalid_argument);
}

}  // namespace
}  // namespace tulle::testing
