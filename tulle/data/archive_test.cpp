#include "tulle/data/archive.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tulle/base/error.h"
#include "tulle/data/data_testing.h"
#include "tulle/data/npy.h"

namespace tulle::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

std::string zip_of(const std::vector<std::pair<std::string, std::vector<std::string>>>& members) {
  ZipWriter writer;
  for (const auto& [name, texts] : members) {
    std::vector<std::span<const std::byte>> pieces;
    for (const std::string& text : texts) pieces.push_back(std::as_bytes(std::span(text)));
    writer.add(name, pieces);
  }
  return writer.finish();
}

std::vector<std::pair<std::string, std::string>> members_of(std::string_view zip) {
  std::vector<std::pair<std::string, std::string>> members;
  for_members(
      bytes_of(zip), "test.zip", 1 << 26, [](const std::string&) { return true; },
      [&](const Member& member) { members.emplace_back(member.name, text_of(member.bytes)); });
  return members;
}

TEST(ZipWriter, StoresMembersThatAreReadBackAsTheyWere) {
  const std::string large(3 << 20, 'x');
  const std::string zip = zip_of({{"a.npy", {"abc", "", "def"}}, {"empty", {}}, {"large", {large}}});
  EXPECT_THAT(members_of(zip), ElementsAre(Pair("a.npy", "abcdef"), Pair("empty", ""), Pair("large", large)));
  EXPECT_NE(zip.find("abcdef"), std::string::npos) << "stored, not deflated";
  EXPECT_LT(zip.size(), large.size() + 1000) << "no padding";
}

TEST(Members, HaveNamesThatTheLocaleCannotSpell) {
  std::string zip = zip_of({{"a", {"1"}}, {"\xc3\xa9", {"2"}}});
  for (std::size_t at = 0; (at = zip.find("PK", at)) != std::string::npos; ++at) {
    if (zip[at + 2] == 3) zip[at + 7] |= 8;  // names are in UTF-8: as Python's zipfile tells it
    if (zip[at + 2] == 1) zip[at + 9] |= 8;
  }
  EXPECT_THAT(members_of(zip), ElementsAre(Pair("a", "1"), Pair("\xc3\xa9", "2")));
}

TEST(ZipWriter, WritesTheSameBytesForTheSameMembers) {
  EXPECT_EQ(zip_of({{"a", {"1"}}, {"b", {"2"}}}), zip_of({{"a", {"1"}}, {"b", {"2"}}}));
}

TEST(NpyHead, IsReadBackAndEndsWhereValuesMayBeAligned) {
  const std::vector<std::vector<std::int64_t>> shapes{{}, {3}, {2, 3}, {1, 2, 3}, {2000000000, 0}};
  for (const std::vector<std::int64_t>& shape : shapes) {
    const std::string head = npy_head("<i4", shape);
    EXPECT_EQ(head.size() % 64, 0u);
    const Content bytes = bytes_of(head + std::string(24, '\1'));
    const Array array = parse_npy(bytes, "x", "x.npy");
    EXPECT_EQ(array.shape, shape);
    EXPECT_EQ(array.type, Array::Type::kInt);
    EXPECT_EQ(array.item, 4u);
    EXPECT_FALSE(array.big_endian || array.column_major);
  }
}

}  // namespace
}  // namespace tulle::testing
