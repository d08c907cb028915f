#include "tulle/checkpoint/safetensors_header.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ctime>

#include "tulle/base/error.h"

namespace tulle {
namespace {

SafetensorsHeader parse(std::string_view json, std::uint64_t data_bytes = 8) {
  return parse_header(json, data_bytes, "file");
}

TEST(SafetensorsHeader, IsReadWhateverTheOrderOfFieldsAndTheWhiteSpace) {
  const SafetensorsHeader header = parse(
      R"({ "b": {"data_offsets": [4, 8], "shape": [], "dtype": "F32"},
           "__metadata__": {"k": "v", "": ""},
           "a": {"dtype": "I16", "shape": [2, 1], "data_offsets": [0, 4]} }   )");
  ASSERT_EQ(header.tensors.size(), 2u);
  EXPECT_EQ(header.tensors[0].name, "a");
  EXPECT_EQ(header.tensors[0].dtype, DType::I16);
  EXPECT_EQ(header.tensors[0].shape, (std::vector<std::int64_t>{2, 1}));
  EXPECT_EQ(header.tensors[1].begin, 4u);
  EXPECT_EQ(header.metadata, (Metadata{{"k", "v"}, {"", ""}}));
}

TEST(SafetensorsHeader, EmptyTensorsMayStandWhereOthersMeet) {
  const SafetensorsHeader header = parse(
      R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},
          "b":{"dtype":"F64","shape":[3,0],"data_offsets":[0,0]},
          "c":{"dtype":"U8","shape":[0],"data_offsets":[8,8]},
          "d":{"dtype":"U8","shape":[0],"data_offsets":[8,8]}})");
  EXPECT_EQ(header.tensors.size(), 4u);
  EXPECT_EQ(parse("{}", 0).tensors.size(), 0u);
}

struct Hostile {
  const char* name;
  const char* json;  // for 8 bytes of data
  const char* message;
};

class HostileHeader : public ::testing::TestWithParam<Hostile> {};

TEST_P(HostileHeader, IsRefusedWithItsPlace) {
  try {
    parse(GetParam().json);
    ADD_FAILURE() << "nothing thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadData);
    EXPECT_STREQ(error.what(), GetParam().message);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Cases, HostileHeader,
    ::testing::Values(
        Hostile{"Empty", "", "file@8: JSON text, found its end, expected '{'"},
        Hostile{"Array", "[]", "file@8: JSON text, found '[', expected '{'"},
        Hostile{"Cut", R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]})",
                "file@60: JSON text, found its end, expected '}'"},
        Hostile{"TextBehind", R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}} x)",
                "file@62: JSON text, found 'x', expected its end"},
        Hostile{"TrailingComma", R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},})",
                "file@61: JSON text, found '}', expected a string"},
        Hostile{"NotATensor", R"({"a":1})", "file@13: JSON text, found '1', expected '{'"},
        Hostile{"UnknownDType", R"({"a":{"dtype":"F8","shape":[8],"data_offsets":[0,8]}})",
                "file@22: dtype, found 'F8', expected U8 to U64, I8 to I64, F16, BF16, F32, F64 or BOOL"},
        Hostile{"UnknownField", R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8],"x":0}})",
                "file@60: field of a tensor, found 'x', expected dtype, shape and data_offsets, each once"},
        Hostile{
            "FieldTwice", R"({"a":{"dtype":"U8","dtype":"U8","shape":[8],"data_offsets":[0,8]}})",
            "file@27: field of a tensor, found 'dtype', expected dtype, shape and data_offsets, each once"},
        Hostile{"FieldMissing", R"({"a":{"dtype":"U8","data_offsets":[0,8]}})",
                "file@9: tensor 'a', found a field missing, expected dtype, shape and data_offsets"},
        Hostile{"NegativeSize", R"({"a":{"dtype":"U8","shape":[-8],"data_offsets":[0,8]}})",
                "file@36: JSON text, found '-', expected a whole number"},
        Hostile{"NaN", R"({"a":{"dtype":"U8","shape":[NaN],"data_offsets":[0,8]}})",
                "file@36: JSON text, found 'N', expected a whole number"},
        Hostile{"Exponent", R"({"a":{"dtype":"U8","shape":[1e400],"data_offsets":[0,8]}})",
                "file@37: JSON text, found 'e', expected ']'"},
        Hostile{"Beyond64Bits", R"({"a":{"dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,8]}})",
                "file@36: number, found a larger one, expected below 2^64"},
        Hostile{"Beyond63Bits", R"({"a":{"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,8]}})",
                "file@35: shape, found 9223372036854775808, expected below 2^63"},
        Hostile{"ProductOverflows",  // to 8 bytes exactly, if it were not checked
                R"({"a":{"dtype":"U64","shape":[2305843009213693953],"data_offsets":[0,8]}})",
                "file@9: tensor 'a', shape, found [2305843009213693953], expected a size below 2^64"},
        Hostile{"RankTooHigh",
                R"({"a":{"dtype":"U8","shape":[8,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"data_offsets":[0,8]}})",
                "file@68: array, found more, expected at most 16 numbers"},
        Hostile{"OneOffset", R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0]}})",
                "file@39: data_offsets, found another number of values, expected 2"},
        Hostile{"BeginBehindEnd", R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[8,0]}})",
                "file@9: tensor 'a', data_offsets, found [8, 0], expected a range of 8 bytes for its shape"},
        Hostile{"ShapeDiffers", R"({"a":{"dtype":"U8","shape":[7],"data_offsets":[0,8]}})",
                "file@9: tensor 'a', data_offsets, found [0, 8], expected a range of 7 bytes for its shape"},
        Hostile{"PastTheEnd", R"({"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}})",
                "file@9: tensor 'a', end of its data, found 9, expected at most 8"},
        Hostile{"DataLeftOver", R"({"a":{"dtype":"U8","shape":[7],"data_offsets":[0,7]}})",
                "file: size of the data, found 8 bytes, expected 7 for the tensors"},
        Hostile{
            "Hole",
            R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})",
            "file@61: tensor 'b', start of its data, found 4, expected 3: a hole"},
        Hostile{
            "Overlap",
            R"({"a":{"dtype":"U8","shape":[5],"data_offsets":[0,5]},"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})",
            "file@61: tensor 'b', start of its data, found 4, expected 5: an overlap"},
        Hostile{
            "SameData",
            R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}})",
            "file@61: tensor 'b', start of its data, found 0, expected 8: an overlap"},
        Hostile{
            "EmptyInsideAnother",
            R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[0],"data_offsets":[4,4]}})",
            "file@61: tensor 'b', start of its data, found 4, expected 8: an overlap"},
        Hostile{
            "EmptyThatIsNot",
            R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[0],"data_offsets":[0,8]}})",
            "file@61: tensor 'b', data_offsets, found [0, 8], expected a range of 0 bytes for its shape"},
        Hostile{
            "NameTwice",
            R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"\u0061":{"dtype":"U8","shape":[0],"data_offsets":[8,8]}})",
            "file@9: tensor 'a', found twice, expected once"},
        Hostile{"MetadataTwice", R"({"__metadata__":{},"__metadata__":{}})",
                "file@27: __metadata__, found it twice, expected it once"},
        Hostile{"MetadataKeyTwice", R"({"__metadata__":{"k":"1","k":"1"}})",
                "file@33: metadata key, found 'k' again, expected unique keys"},
        Hostile{"MetadataNumber", R"({"__metadata__":{"k":1}})",
                "file@29: JSON text, found '1', expected a string"},
        Hostile{"MetadataNull", R"({"__metadata__":null})", "file@24: JSON text, found 'n', expected '{'"},
        Hostile{"NotUtf8", "{\"\xff\":{}}",
                "file@10: JSON string, found bytes that are not UTF-8, expected UTF-8"},
        Hostile{"TerminalEscape", "{\"a\\u001b[2J\":{}}",
                "file@9: tensor 'a\\x1b[2J', found a field missing, expected dtype, shape and data_offsets"}),
    [](const auto& info) { return std::string(info.param.name); });

std::string entry(int number, std::string_view shape, std::string_view offsets) {
  return "\"" + std::to_string(number) + "\":{\"dtype\":\"U8\",\"shape\":[" + std::string(shape) +
         "],\"data_offsets\":[" + std::string(offsets) + "]},";
}

// Sanitizers take time and memory of their own.
#if defined(NDEBUG) && !defined(TULLE_SANITIZED)
constexpr bool kMeasurable = true;
#else
constexpr bool kMeasurable = false;
#endif

long peak_kilobytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

/// Refused, within one second of CPU time and 64 MB? In a process of its own, whose peak of memory is its
/// own.
void expect_refused_cheaply(const std::string& name, const std::string& json) {
  SCOPED_TRACE(name);
  const pid_t child = ::fork();
  if (child == 0) {
    const long before = peak_kilobytes();
    const std::clock_t start = std::clock();
    try {
      parse(json);
    } catch (const Error&) {
      const bool slow = std::clock() - start > CLOCKS_PER_SEC;
      const bool large = peak_kilobytes() - before > 64'000'000 / 1024;
      ::_exit(slow ? 2 : large ? 3 : 0);
    }
    ::_exit(1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 0) << "1: accepted, 2: too slow, 3: too much memory";
  EXPECT_TRUE(WIFEXITED(status));
}

TEST(SafetensorsHeader, AHostileOneOfAHundredMegabytesCostsLittle) {
  if (!kMeasurable) GTEST_SKIP() << "not a plain optimised build";
  const std::size_t size = kMaxHeaderBytes;
  expect_refused_cheaply("white space", "{" + std::string(size, '\n') + "x");
  expect_refused_cheaply("depth", std::string(size, '['));
  expect_refused_cheaply("depth of objects", [&] {
    std::string text;
    while (text.size() < size) text += "{\"a\":";
    return text;
  }());
  expect_refused_cheaply("one name", "{\"" + std::string(size, 'a') + "\":{}}");
  expect_refused_cheaply("one name that is not UTF-8", "{\"" + std::string(size, 'a') + "\xff\":{}}");
  expect_refused_cheaply("one number", "{\"a\":{\"shape\":[1" + std::string(size, '0') + "]}}");
  expect_refused_cheaply("rank", [&] {
    std::string text = "{\"a\":{\"shape\":[1";
    while (text.size() < size) text += ",1";
    return text + "]}}";
  }());
  expect_refused_cheaply("metadata", [&] {
    std::string text = "{\"__metadata__\":{";
    for (int i = 0; text.size() < size; ++i) text += "\"" + std::to_string(i) + "\":\"\",";
    return text;
  }());
  expect_refused_cheaply("long metadata and many tensors", [&] {
    std::string text = "{\"__metadata__\":{\"k\":\"" + std::string(22 << 20, 'a') + "\"},";
    for (int i = 0; i < 100'000; ++i) text += entry(i, "0,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1", "0,0");
    text.back() = '}';
    return text;
  }());
  expect_refused_cheaply("a million tensors", [&] {
    std::string text = "{";
    for (int i = 0; text.size() < size; ++i) text += entry(i, "0", "0,0");
    return text;
  }());
  expect_refused_cheaply("names with a long common start", [&] {
    std::string text = "{";
    const std::string start(240, 'a');
    for (int i = 0; i < 90'000; ++i) text += "\"" + start + entry(i, "0", "0,0").substr(1);
    text.back() = '}';
    return text;
  }());
}

TEST(SafetensorsHeader, HoldsAsManyTensorsAsAllowedAndNoMore) {
  std::string text = "{";
  for (int i = 0; i < 100'000; ++i) text += entry(i, "0", "0,0");
  text.back() = '}';
  EXPECT_EQ(parse(text, 0).tensors.size(), kMaxHeaderEntries);
  text.back() = ',';
  text += entry(100'000, "0", "0,0");
  text.back() = '}';
  EXPECT_THROW(parse(text, 0), Error);
}

TEST(MakeHeader, IsReadBackAndPaddedTo64) {
  const std::vector<TensorEntry> tensors{{"a\"\n\u00e4", DType::F32, {2}, 0, 8},
                                         {"b", DType::BOOL, {}, 8, 9}};
  const std::string text = make_header({{"key", "line\nend"}}, tensors);
  EXPECT_EQ(text.size() % 64, 0u);
  EXPECT_EQ(static_cast<unsigned char>(text[0]), text.size() - 8);
  const SafetensorsHeader header = parse(std::string_view(text).substr(8), 9);
  EXPECT_EQ(header.metadata.at("key"), "line\nend");
  ASSERT_EQ(header.tensors.size(), 2u);
  EXPECT_EQ(header.tensors[0].name, tensors[0].name);
  EXPECT_EQ(header.tensors[1].shape, tensors[1].shape);
  EXPECT_EQ(parse(std::string_view(make_header({}, {})).substr(8), 0).tensors.size(), 0u);
  EXPECT_EQ(parse(std::string_view(make_header({{"k", "v"}}, {})).substr(8), 0).metadata.size(), 1u);
}

}  // namespace
}  // namespace tulle
