#include "tulle/data/rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace tulle {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Sample i has the inputs 2i and 2i + 1.
Split split_of(std::vector<std::int32_t> classes) {
  Split split;
  split.inputs.samples = static_cast<std::int64_t>(classes.size());
  split.inputs.features = 2;
  for (std::size_t i = 0; i < 2 * classes.size(); ++i)
    split.inputs.bytes.push_back(static_cast<std::uint8_t>(i));
  split.classes = std::move(classes);
  return split;
}

std::int64_t count(const Split& split, std::int32_t wanted) {
  return std::count(split.classes.begin(), split.classes.end(), wanted);
}

TEST(Rows, TakenOrKeptBringInputsAndLabelsAlong) {
  Split split = split_of({5, 6, 7, 8});
  split.targets = {.5f, .6f, .7f, .8f};
  split.weights = {1, 2, 3, 4};
  const std::vector<std::uint32_t> rows{1, 3};
  const Split taken = take_rows(split, rows);
  keep_rows(split, rows);
  for (const Split& result : {taken, split}) {
    EXPECT_EQ(result.inputs.samples, 2);
    EXPECT_EQ(result.inputs.features, 2);
    EXPECT_THAT(result.inputs.bytes, ElementsAre(2, 3, 6, 7));
    EXPECT_THAT(result.inputs.floats, IsEmpty());
    EXPECT_THAT(result.classes, ElementsAre(6, 8));
    EXPECT_THAT(result.targets, ElementsAre(.6f, .8f));
    EXPECT_THAT(result.weights, ElementsAre(2, 4));
  }
}

TEST(SplitOff, TakesTheSameShareOfEachClassAndEverySampleOnce) {
  std::vector<std::int32_t> classes(60, 0);
  std::fill(classes.begin() + 40, classes.end(), 1);
  Split train = split_of(classes);
  const Split valid = split_off(train, 0.25, 2, 1);
  EXPECT_EQ(count(valid, 0), 10);
  EXPECT_EQ(count(valid, 1), 5);
  EXPECT_EQ(train.inputs.samples, 45);
  AlignedVector<std::uint8_t> all = train.inputs.bytes;
  all.insert(all.end(), valid.inputs.bytes.begin(), valid.inputs.bytes.end());
  std::sort(all.begin(), all.end());
  EXPECT_EQ(all, split_of(classes).inputs.bytes);
}

TEST(SplitOff, KeepsTheOrderAndIsNotTheStartOfTheFile) {
  Split train = split_of(std::vector<std::int32_t>(100, 0));
  const Split valid = split_off(train, 0.3, 1, 1);
  EXPECT_TRUE(std::is_sorted(valid.inputs.bytes.begin(), valid.inputs.bytes.end()));
  EXPECT_TRUE(std::is_sorted(train.inputs.bytes.begin(), train.inputs.bytes.end()));
  EXPECT_GT(valid.inputs.bytes.back(), 100);
}

TEST(SplitOff, FollowsFromTheSeed) {
  const Split whole = split_of(std::vector<std::int32_t>(100, 0));
  Split a = whole, b = whole, c = whole;
  EXPECT_EQ(split_off(a, 0.5, 1, 1).inputs.bytes, split_off(b, 0.5, 1, 1).inputs.bytes);
  EXPECT_NE(a.inputs.bytes, split_off(c, 0.5, 1, 2).inputs.bytes);
  EXPECT_NE(a.inputs.bytes, c.inputs.bytes);
}

TEST(SplitOff, AClassWithOneMemberStaysAndTheOthersGiveForIt) {
  Split train = split_of({0, 1, 2, 2, 2, 2, 2, 2, 2, 2});
  const Split valid = split_off(train, 0.5, 3, 1);
  EXPECT_EQ(valid.inputs.samples, 5);
  EXPECT_EQ(count(valid, 2), 5);
}

TEST(SplitOff, SmallClassesTogetherGiveTheFraction) {
  std::vector<std::int32_t> classes;
  for (std::int32_t i = 0; i < 100; ++i) classes.push_back(i / 4);
  Split train = split_of(classes);
  EXPECT_EQ(split_off(train, 0.1, 25, 1).inputs.samples, 10);
}

TEST(SplitOff, NeverTakesAllOfAClass) {
  Split train = split_of({0, 0, 1, 1});
  EXPECT_EQ(split_off(train, 0.99, 2, 1).inputs.samples, 2);
  EXPECT_EQ(count(train, 0), 1);
}

TEST(SplitOff, RegressionIsOneClass) {
  Split train = split_of({0, 0, 0, 0});
  train.classes.clear();
  train.targets = {1, 2, 3, 4};
  const Split valid = split_off(train, 0.5, 0, 1);
  EXPECT_EQ(valid.targets.size(), 2u);
  EXPECT_EQ(train.targets.size(), 2u);
}

}  // namespace
}  // namespace tulle
