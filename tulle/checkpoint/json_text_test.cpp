#include "tulle/checkpoint/json_text.h"

#include <gtest/gtest.h>

#include "tulle/base/error.h"

namespace tulle {
namespace {

std::string read_string(std::string_view text, std::size_t max_bytes = 1000) {
  const std::string file = "file";
  JsonText json(text, 0, max_bytes, file);
  std::string result = json.string();
  json.expect_end();
  return result;
}

std::uint64_t read_number(std::string_view text) {
  const std::string file = "file";
  JsonText json(text, 0, 0, file);
  const std::uint64_t result = json.number();
  json.expect_end();
  return result;
}

TEST(JsonText, ReadsEveryEscapeOfAString) {
  EXPECT_EQ(read_string(R"( "a\"\\\/\b\f\n\r\tz" )"), "a\"\\/\b\f\n\r\tz");
  EXPECT_EQ(read_string(R"("\u0041\u00e4\u20AC\ud83d\ude00\u0000")"),
            std::string("A\u00e4\u20ac\U0001f600\0", 11));
}

TEST(JsonText, ReadsBackWhatWasQuoted) {
  std::string text;
  for (char c = 0; c < 0x7f; ++c) text += c;
  text += "\u00e4\u20ac\U0001f600";
  EXPECT_EQ(read_string(json_quoted(text)), text);
}

TEST(JsonText, RefusesStringsThatAreNone) {
  for (const std::string text :
       {R"(")", R"("a)", R"("\)", R"("\")", R"("\x")", R"("\u12")", R"("\u12g4")", R"("\u+123")",
        R"("\ud800")", R"("\ud800\u0041")", R"("\ude00\ud83d")", "\"\n\"", "'a'", "a", ""})
    EXPECT_THROW(read_string(text), Error) << text;
}

TEST(JsonText, RefusesBytesThatAreNotUtf8AndSaysWhere) {
  for (const char* bytes : {"\x80", "\xff", "\xc0\x80", "\xc3", "\xe0\x80\x80", "\xed\xa0\x80",
                            "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x82"}) {
    try {
      read_string(std::string("\"ab") + bytes + "\"");
      ADD_FAILURE() << bytes;
    } catch (const Error& error) {
      EXPECT_EQ(error.place().offset, 3);
    }
  }
}

TEST(JsonText, HandsOutOnlySoManyBytesOfStrings) {
  EXPECT_EQ(read_string("\"abcd\"", 4), "abcd");
  EXPECT_THROW(read_string("\"abcde\"", 4), Error);
}

TEST(JsonText, ReadsWholeNumbersOf64BitsAndNoOthers) {
  EXPECT_EQ(read_number("0"), 0u);
  EXPECT_EQ(read_number("18446744073709551615"), ~std::uint64_t{0});
  for (const char* text : {"18446744073709551616", "-1", "+1", "01", "1.0", "1e3", "1e400", "NaN", "Infinity",
                           "0x1", "", "null"})
    EXPECT_THROW(read_number(text), Error) << text;
}

TEST(InQuotes, CutsLongTextAtACharacter) {
  EXPECT_EQ(in_quotes("abc"), "'abc'");
  std::string text(79, 'a');
  text += "\u20ac and more";
  EXPECT_EQ(in_quotes(text), "'" + std::string(79, 'a') + "...'");
}

}  // namespace
}  // namespace tulle
