#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tulle/data/data_testing.h"
#include "tulle/data/readers.h"

namespace tulle {
ReadBytes read_idx;
}  // namespace tulle

namespace tulle::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

RawSplit read_idx(const std::string& text, const ReadOptions& options = {}) {
  return read_idx(bytes_of(text), "f.idx", options);
}

std::string value(std::string_view bytes) { return std::string(bytes); }

TEST(Idx, ImagesStayBytesWithTheirShape) {
  const RawSplit split = read_idx(idx_head(0x08, {2, 1, 3}) + std::string("\x01\x02\x03\xfd\xfe\xff"));
  EXPECT_EQ(split.inputs.samples, 2);
  EXPECT_EQ(split.inputs.features, 3);
  EXPECT_THAT(split.inputs.bytes, ElementsAre(1, 2, 3, 253, 254, 255));
  EXPECT_TRUE(split.inputs.floats.empty());
  EXPECT_EQ(split.labels.size(), 0u);
  EXPECT_EQ(split.image.channels, 1);
  EXPECT_EQ(split.image.height, 1);
  EXPECT_EQ(split.image.width, 3);
}

TEST(Idx, FourDimensionsAreImagesWithChannelsFirst) {
  const RawSplit split = read_idx(idx_head(0x08, {1, 3, 2, 1}) + "abcdef");
  EXPECT_EQ(split.inputs.features, 6);
  EXPECT_EQ(split.image.channels, 3);
  EXPECT_EQ(split.image.height, 2);
  EXPECT_EQ(split.image.width, 1);
}

TEST(Idx, TwoDimensionsAreNoImage) { EXPECT_EQ(read_idx(idx_head(0x08, {1, 2}) + "ab").image.height, 0); }

TEST(Idx, OneDimensionIsLabels) {
  const RawSplit split = read_idx(idx_head(0x08, {3}) + "\x07\x01\xff");
  EXPECT_EQ(split.inputs.features, 0);
  EXPECT_THAT(split.labels.numbers, ElementsAre(7, 1, 255));
}

TEST(Idx, EveryTypeIsReadBigEndianAndSigned) {
  using namespace std::string_view_literals;
  EXPECT_THAT(read_idx(idx_head(0x08, {1}) + value("\xff"sv)).labels.numbers, ElementsAre(255));
  EXPECT_THAT(read_idx(idx_head(0x09, {1}) + value("\xff"sv)).labels.numbers, ElementsAre(-1));
  EXPECT_THAT(read_idx(idx_head(0x0b, {1}) + value("\xff\x00"sv)).labels.numbers, ElementsAre(-256));
  EXPECT_THAT(read_idx(idx_head(0x0c, {2}) + value("\x00\x01\x00\x00\xff\xff\xff\xfe"sv)).labels.numbers,
              ElementsAre(65536, -2));
  EXPECT_THAT(read_idx(idx_head(0x0d, {1}) + value("\xbf\xc0\x00\x00"sv)).labels.numbers, ElementsAre(-1.5));
  EXPECT_THAT(read_idx(idx_head(0x0e, {1}) + value("\x40\x04\0\0\0\0\0\0"sv)).labels.numbers,
              ElementsAre(2.5));
  EXPECT_THAT(read_idx(idx_head(0x0b, {1, 2}) + value("\x00\x05\xff\xfb"sv)).inputs.floats,
              ElementsAre(5, -5));
}

TEST(Idx, MaxRowsReadsTheFirstSamples) {
  const RawSplit split = read_idx(idx_head(0x08, {3, 2}) + "abcdef", {.max_rows = 2});
  EXPECT_EQ(split.inputs.samples, 2);
  EXPECT_THAT(split.inputs.bytes, ElementsAre('a', 'b', 'c', 'd'));
  EXPECT_EQ(read_idx(idx_head(0x08, {3}) + "abc", {.max_rows = 2}).labels.size(), 2u);
}

TEST(Idx, AWrongMagicNumberIsRefusedWithWhatItIs) {
  using namespace std::string_view_literals;
  for (const std::string_view head :
       {"abcd"sv, "\0\0\x0a\x01"sv, "\0\0\x08\x05"sv, "\0\x01\x08\x01"sv, "\0\0\x08"sv})
    EXPECT_THAT(refusal([&] { read_idx(value(head)); }), StartsWith("f.idx@0: IDX magic number, found "));
  EXPECT_THAT(refusal([] { read_idx(std::string("\0\0\x08\0", 4)); }), HasSubstr("found 00000800"));
}

TEST(Idx, ASizeThatIsNotTheFilesIsRefusedWithBoth) {
  EXPECT_EQ(refusal([] {
              read_idx(idx_head(0x08, {2, 2}) + "abc");
            }),
            "f.idx@4: size of the file, found 15 bytes, expected 16 as its IDX sizes say");
  EXPECT_THAT(refusal([] {
                read_idx(idx_head(0x08, {2, 2}) + "abcde");
              }),
              HasSubstr("found 17 bytes, expected 16"));
}

TEST(Idx, AHeadThatEndsTooEarlyIsRefused) {
  EXPECT_EQ(refusal([] {
              read_idx(idx_head(0x08, {1, 1}).substr(0, 11));
            }),
            "f.idx@4: IDX sizes, found 7 bytes, expected 8");
}

TEST(Idx, SizesWhoseProductOverflowsAreRefused) {
  EXPECT_THAT(refusal([] {
                read_idx(idx_head(0x0e, {0x80000000, 0x80000000, 4, 1}));
              }),
              HasSubstr("beyond 64 bits"));
  // These products wrap to 0, the size of what follows.
  EXPECT_THAT(refusal([] {
                read_idx(idx_head(0x08, {1, 0x80000000, 0x80000000, 4}));
              }),
              HasSubstr("beyond 64 bits"));
  EXPECT_THAT(refusal([] {
                read_idx(idx_head(0x08, {0x80000000, 0x80000000, 4}));
              }),
              HasSubstr("beyond 64 bits"));
  EXPECT_THAT(refusal([] {
                read_idx(idx_head(0x08, {0xffffffff, 0xffffffff}));
              }),
              HasSubstr("expected 18446744065"));
  EXPECT_THAT(refusal([] { read_idx(idx_head(0x08, {0, 0x80000000})); }), HasSubstr("fewer than 2^31"));
}

TEST(Idx, WhatIsNotFiniteIsRefusedWithItsPlaceOrAllowed) {
  using namespace std::string_view_literals;
  const std::string nan = idx_head(0x0d, {2, 2}) + std::string(12, '\0') + value("\x7f\xc0\0\0"sv);
  EXPECT_THAT(refusal([&] { read_idx(nan); }), StartsWith("f.idx@24: row 2, feature 2, found nan"));
  EXPECT_TRUE(std::isnan(read_idx(nan, {.allow_nonfinite = true}).inputs.floats[3]));
  const std::string large = idx_head(0x0e, {1, 1}) + value("\x7e\x37\xe4\x3c\x88\x00\x75\x9c"sv);  // 1e300
  EXPECT_THAT(refusal([&] { read_idx(large); }), StartsWith("f.idx@12: row 1, feature 1, found 1e+300"));
}

}  // namespace
}  // namespace tulle::testing
