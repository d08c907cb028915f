#include "tulle/checkpoint/integrity.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <string_view>

#include "tulle/base/file_ops_testing.h"

namespace tulle {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

TEST(Crc32c, MatchesThePublishedCheckValues) {
  EXPECT_EQ(crc32c(bytes_of("123456789")), 0xe3069283u);
  EXPECT_EQ(crc32c(bytes_of(std::string(32, '\0'))), 0x8a9136aau);  // RFC 3720, B.4
  EXPECT_EQ(crc32c(bytes_of(std::string(32, '\xff'))), 0x62a8ab43u);
  EXPECT_EQ(crc32c({}), 0u);
}

TEST(Crc32c, TableAndInstructionAgreeForEveryLengthAndStart) {
  if (!detail::has_crc32c_instruction()) GTEST_SKIP() << "CPU without SSE4.2";
  std::mt19937 random(1);
  std::string text(100, '\0');
  for (char& c : text) c = static_cast<char>(random());
  for (std::size_t begin = 0; begin < 9; ++begin) {
    for (std::size_t length = 0; begin + length <= text.size(); ++length) {
      const auto piece = bytes_of(text).subspan(begin, length);
      const auto start = static_cast<std::uint32_t>(random());
      ASSERT_EQ(detail::crc32c_by_table(piece, start), detail::crc32c_by_instruction(piece, start));
    }
  }
}

TEST(Crc32c, GoesOnWhereItStopped) {
  EXPECT_EQ(crc32c(bytes_of("6789"), crc32c(bytes_of("12345"))), crc32c(bytes_of("123456789")));
}

TEST(CrcTable, HasOneLittleEndianEntryPerMebibyteHoweverTheBytesAreCut) {
  const std::string block(kCrcBlock, 'a');
  const std::string rest = "123456789";
  const std::string whole = block + rest;
  const std::span<const std::byte> one[] = {bytes_of(whole)};
  const std::span<const std::byte> many[] = {bytes_of(whole).first(5), {}, bytes_of(whole).subspan(5)};
  const std::vector<std::byte> table = crc_table(one);
  EXPECT_EQ(crc_table(many), table);
  ASSERT_EQ(table.size(), 8u);
  EXPECT_EQ(table.size(), crc_table_bytes(whole.size()));
  const std::vector<std::byte> last(table.begin() + 4, table.end());
  const std::vector<std::byte> expected{std::byte{0x83}, std::byte{0x92}, std::byte{0x06}, std::byte{0xe3}};
  EXPECT_EQ(last, expected);
}

TEST(CrcTable, AFullLastBlockIsNotFollowedByAnEmptyOne) {
  const std::string block(kCrcBlock, 'a');
  const std::span<const std::byte> pieces[] = {bytes_of(block)};
  EXPECT_EQ(crc_table(pieces).size(), 4u);
  EXPECT_EQ(crc_table_bytes(kCrcBlock), 4u);
  EXPECT_EQ(crc_table({}).size(), 0u);
}

std::string hex_of(const Digest& digest) {
  std::string hex;
  for (const std::byte byte : digest) {
    hex += "0123456789abcdef"[static_cast<int>(byte) >> 4];
    hex += "0123456789abcdef"[static_cast<int>(byte) & 15];
  }
  return hex;
}

TEST(Digest, IsTheOneThatXxh128sumPrints) {  // expected value: the Python package xxhash
  const std::span<const std::byte> whole[] = {bytes_of("123456789")};
  const std::span<const std::byte> cut[] = {bytes_of("1234"), bytes_of("56789")};
  const Digest digest = xxh3_digest(whole);
  EXPECT_EQ(xxh3_digest(cut), digest);
  EXPECT_EQ(hex_of(digest), "33119477ede5dcd5e9716427681d5860");
}

TEST(Digest, OfAFileIsThatOfItsBytes) {
  const testing::TemporaryDirectory folder;
  for (const std::size_t size : {0, 9, 1 << 20, (3 << 20) + 17}) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * i >> 7);
    testing::write_text(folder / "file", text);
    const std::span<const std::byte> whole[] = {bytes_of(text)};
    EXPECT_EQ(file_hash(folder / "file"), hex_of(xxh3_digest(whole))) << size;
  }
}

}  // namespace
}  // namespace tulle
