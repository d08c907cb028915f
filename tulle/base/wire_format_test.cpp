#include "tulle/base/wire_format.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace tulle {
namespace {

// The bytes that body() writes, as hexadecimal digits.
template <class Body>
std::string hex(const Body& body) {
  WireWriter writer;
  body(writer);
  std::string digits;
  for (const char c : writer.take())
    for (const int shift : {4, 0}) digits += "0123456789abcdef"[static_cast<unsigned char>(c) >> shift & 15];
  return digits;
}

// The first three are the examples of protobuf's own description of its encoding.
TEST(WireWriter, WritesWholeNumbersInGroupsOfSevenBits) {
  EXPECT_EQ(hex([](WireWriter& w) { w.number(1, 150); }), "089601");
  EXPECT_EQ(hex([](WireWriter& w) { w.number(1, 0); }), "0800");
  EXPECT_EQ(hex([](WireWriter& w) { w.number(1, -2); }), "08feffffffffffffffff01");
  EXPECT_EQ(hex([](WireWriter& w) { w.number(1, 127); }), "087f");
  EXPECT_EQ(hex([](WireWriter& w) { w.number(1, 128); }), "088001");
}

TEST(WireWriter, WritesFieldNumbersAboveFifteenInTwoBytes) {
  EXPECT_EQ(hex([](WireWriter& w) { w.number(15, 1); }), "7801");
  EXPECT_EQ(hex([](WireWriter& w) { w.number(16, 1); }), "800101");
}

TEST(WireWriter, WritesRealsAsTheirLittleEndianBits) {
  EXPECT_EQ(hex([](WireWriter& w) { w.real(2, 1.0f); }), "150000803f");
  EXPECT_EQ(hex([](WireWriter& w) { w.real(1, 1.0); }), "09000000000000f03f");
}

TEST(WireWriter, WritesTextsAndBytesBehindTheirLength) {
  EXPECT_EQ(hex([](WireWriter& w) { w.text(2, "testing"); }), "120774657374696e67");
  EXPECT_EQ(hex([](WireWriter& w) { w.text(2, ""); }), "1200");
  EXPECT_EQ(hex([](WireWriter& w) { std::memcpy(w.bytes(9, 3).data(), "abc", 3); }), "4a03616263");
}

TEST(WireWriter, PacksRepeatedNumbersIntoOneField) {
  const std::vector<std::int64_t> whole{3, 270, 86942};
  EXPECT_EQ(hex([&](WireWriter& w) { w.packed(6, whole); }), "3206038e029ea705");
  const std::vector<double> reals{1.0, -2.0};
  EXPECT_EQ(hex([&](WireWriter& w) { w.packed(7, reals); }), "3a10000000000000f03f00000000000000c0");
  EXPECT_EQ(hex([&](WireWriter& w) { w.packed(7, std::span<const double>()); }), "3a00");
}

TEST(WireWriter, NestsMessagesOfAnyLength) {
  EXPECT_EQ(hex([](WireWriter& w) { w.message(3, [](WireWriter& inner) { inner.number(1, 150); }); }),
            "1a03089601");
  EXPECT_EQ(hex([](WireWriter& w) { w.message(3, [](WireWriter&) {}); }), "1a00");

  // 128 bytes and more need a length of two bytes, at every level.
  WireWriter writer;
  writer.message(1, [](WireWriter& outer) {
    outer.message(2, [](WireWriter& inner) { inner.text(3, std::string(126, 'x')); });
    outer.number(4, 1);
  });
  EXPECT_EQ(writer.size(), 136u);
  std::string expected = "\x0a\x85\x01\x12\x80\x01\x1a\x7e";
  expected.append(126, 'x').append("\x20\x01");
  EXPECT_EQ(writer.take(), expected);
}

}  // namespace
}  // namespace tulle
