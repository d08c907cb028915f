#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <limits>

#include "tulle/base/checked_size.h"
#include "tulle/base/error.h"
#include "tulle/base/half.h"
#include "tulle/base/name_table.h"
#include "tulle/base/random.h"

namespace tulle {
namespace {

TEST(Random, MatchesThePublishedPhilox4x32Vectors) {
  // Known answers of the Random123 distribution: zero counter and key.
  const Random zero{.seed = 0, .stream = static_cast<Stream>(0), .layer = 0, .event = 0};
  const std::array<std::uint32_t, 4> expected{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
  EXPECT_EQ(zero.words(0), expected);
}

TEST(Random, PlacesAreIndependentOfTheOrderTheyAreAskedIn) {
  const Random random{.seed = 7, .stream = Stream::kGrow, .layer = 2, .event = 5};
  const auto later = random.words(1000);
  random.words(3);
  EXPECT_EQ(random.words(1000), later);
  EXPECT_NE(random.words(999), later);
}

TEST(Random, BelowStaysInRangeAndHitsEveryValue) {
  const Random random{.seed = 1, .stream = Stream::kShuffle};
  std::vector<int> hits(7, 0);
  for (std::uint64_t i = 0; i < 7000; ++i) ++hits[random.below(7, i)];
  for (const int count : hits) EXPECT_NEAR(count, 1000, 150);
}

TEST(Random, NormalHasMeanZeroAndVarianceOne) {
  const Random random{.seed = 3, .stream = Stream::kValue};
  double sum = 0, squares = 0;
  for (std::uint64_t i = 0; i < 20000; ++i) {
    const double x = random.normal(i);
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / 20000, 0.0, 0.03);
  EXPECT_NEAR(squares / 20000, 1.0, 0.05);
}

TEST(RandomPermutation, HoldsEveryNumberOnceAndDependsOnTheEvent) {
  const auto first = random_permutation(1000, {.seed = 1, .stream = Stream::kShuffle, .event = 1});
  const auto second = random_permutation(1000, {.seed = 1, .stream = Stream::kShuffle, .event = 2});
  EXPECT_NE(first, second);
  auto sorted = first;
  std::sort(sorted.begin(), sorted.end());
  for (std::uint32_t i = 0; i < 1000; ++i) ASSERT_EQ(sorted[i], i);
}

TEST(CheckedSize, RefusesAProductOrSumBeyond64Bits) {
  EXPECT_EQ(checked_multiply(1u << 31, 1u << 31), std::uint64_t{1} << 62);
  EXPECT_THROW(checked_multiply(std::uint64_t{1} << 40, std::uint64_t{1} << 40), std::overflow_error);
  EXPECT_THROW(checked_add(std::numeric_limits<std::uint64_t>::max(), 1), std::overflow_error);
}

TEST(ErrorMessage, NamesThePlaceAndEscapesControlCharacters) {
  const Error at_offset(ErrorKind::kBadData, {.file = "a\nb.idx", .offset = 16}, "size\x1b[0m");
  EXPECT_STREQ(at_offset.what(), "a\\nb.idx@16: size\\x1b[0m");
  const Error at_line(ErrorKind::kConfig, {.file = "x.toml", .line = 3}, "unknown key");
  EXPECT_STREQ(at_line.what(), "x.toml:3: unknown key");
}

TEST(SystemError, ChoosesTheKindByWhatTheCallerCanDo) {
  EXPECT_EQ(system_error(ENOENT, "x", "open").kind(), ErrorKind::kMissingInput);
  EXPECT_EQ(system_error(ENOSPC, "x", "write").kind(), ErrorKind::kCannotWrite);
  EXPECT_EQ(system_error(EACCES, "x", "open").kind(), ErrorKind::kPermission);
  EXPECT_EQ(system_error(EIO, "x", "fsync").kind(), ErrorKind::kIo);
}

TEST(NearestName, FindsATypoAndStaysSilentAboutStrangers) {
  EXPECT_EQ(nearest_name("train.momentun", {"train.momentum", "train.epochs"}), "train.momentum");
  EXPECT_EQ(nearest_name("zzzzzz", {"train.momentum", "train.epochs"}), "");
}

TEST(Half, EqualsWhatItsPartsStandFor) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
    const int exponent = static_cast<int>(bits >> 10 & 31), fraction = static_cast<int>(bits & 1023);
    const float found = half_to_float(static_cast<std::uint16_t>(bits));
    if (exponent == 31) {
      EXPECT_TRUE(fraction == 0 ? std::isinf(found) : std::isnan(found)) << bits;
      continue;
    }
    const double wanted =
        exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
    EXPECT_EQ(found, static_cast<float>(sign * wanted)) << bits;
    EXPECT_EQ(std::signbit(found), sign < 0) << bits;
  }
  EXPECT_EQ(bf16_to_float(0x3f80), 1.0f);
  EXPECT_EQ(bf16_to_float(0xc049), -3.140625f);
}

}  // namespace
}  // namespace tulle
