// LIBSVM and extreme-classification text, and the numbers in them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <random>

#include "tulle/data/data_testing.h"
#include "tulle/data/number_text.h"
#include "tulle/data/readers.h"

namespace tulle {

ReadBytes read_libsvm, read_xmc;
FitsBytes is_libsvm, is_xmc, is_text;

}  // namespace tulle

namespace tulle::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

RawSplit libsvm(std::string_view text, const ReadOptions& options = {}) {
  return read_libsvm(bytes_of(text), "f", options);
}
RawSplit xmc(std::string_view text, const ReadOptions& options = {}) {
  return read_xmc(bytes_of(text), "f", options);
}

TEST(ScanFloat, EqualsTheCLibraryOnEveryKindOfNumber) {
  std::mt19937_64 engine(1);
  const auto below = [&](std::uint64_t n) { return engine() % n; };
  std::vector<std::string> texts{"0",
                                 "-0",
                                 "1",
                                 "+1",
                                 "1.",
                                 ".5",
                                 "-.5",
                                 "1e5",
                                 "1E-5",
                                 "1e+05",
                                 "16777216",
                                 "16777217",
                                 "3.4028235e38",
                                 "3.4e39",
                                 "-1e400",
                                 "1e-400",
                                 "1e-45",
                                 "123456789012345678901234567890",
                                 "0.1",
                                 "9.868E-02",
                                 "00012",
                                 "1.2.3",
                                 "inf",
                                 "-inf",
                                 "nan"};
  texts.push_back("0." + std::string(400, '0') + "1");
  texts.push_back(std::string(400, '1') + "e-900");
  for (int i = 0; i < 20000; ++i) {
    std::string text = below(2) == 0 ? "-" : "";
    for (std::uint64_t d = below(12); d > 0; --d) text += static_cast<char>('0' + below(10));
    text += '.';
    for (std::uint64_t d = 1 + below(10); d > 0; --d) text += static_cast<char>('0' + below(10));
    if (below(2) == 0) text += "e" + std::to_string(static_cast<int>(below(60)) - 30);
    texts.push_back(text);
  }
  for (const std::string& text : texts) {
    float found = 7.0f;
    const char* const end = scan_float(text.data(), text.data() + text.size(), found);
    ASSERT_NE(end, nullptr) << text;
    char* wanted_end = nullptr;
    const float wanted = std::strtof(text.c_str(), &wanted_end);
    EXPECT_EQ(end - text.data(), wanted_end - text.c_str()) << text;
    if (std::isnan(wanted)) {
      EXPECT_TRUE(std::isnan(found));
      continue;
    }
    EXPECT_EQ(std::bit_cast<std::uint32_t>(found), std::bit_cast<std::uint32_t>(wanted)) << text;
  }
  for (const std::string text : {"", "-", "+", ".", "e5", "x", "+-1", "0x10"}) {
    float value = 0.0f;
    const char* const end = scan_float(text.data(), text.data() + text.size(), value);
    EXPECT_TRUE(end == nullptr || end != text.data() + text.size()) << text;
  }
}

TEST(Libsvm, TakesWhatPublicFilesHold) {
  const RawSplit split = libsvm("# a comment\n+1 qid:3 2:0.5\t7:1e2  # more\r\n\n-1 \n-1.0 1:0 3:-2");
  EXPECT_THAT(split.labels.numbers, ElementsAre(1, -1, -1));
  EXPECT_EQ(split.inputs.features, 7);
  EXPECT_EQ(split.index_base, 1);
  EXPECT_THAT(split.inputs.sparse.row_ptr, ElementsAre(0, 2, 2, 4));
  EXPECT_THAT(split.inputs.sparse.columns, ElementsAre(1, 6, 0, 2));
  EXPECT_THAT(split.inputs.sparse.values, ElementsAre(0.5f, 100, 0, -2));  // the explicit zero stays
}

TEST(Libsvm, SortsRowsAndRefusesOrAddsDuplicates) {
  EXPECT_THAT(libsvm("1 5:1 2:3\n").inputs.sparse.columns, ElementsAre(1, 4));
  EXPECT_THAT(libsvm("1 5:1 2:3\n").inputs.sparse.values, ElementsAre(3, 1));
  EXPECT_EQ(refusal([] { libsvm("1 1:1\n1 3:1 2:3 3:4\n"); }),
            "f:2: index, found 3 twice, expected each once in a row; data.duplicates = \"sum\" adds them");
  const RawSplit sum = libsvm("1 3:1 2:3 3:4\n", {.duplicates = "sum"});
  EXPECT_THAT(sum.inputs.sparse.values, ElementsAre(3, 5));
}

TEST(Libsvm, ReadsSetsOfLabelsWhereACommaOccurs) {
  const RawSplit split = libsvm("1,3 1:1\n 2:1\n0 1:2\n");
  EXPECT_THAT(split.labels.sets.row_ptr, ElementsAre(0, 2, 2, 3));
  EXPECT_THAT(split.labels.sets.labels, ElementsAre(1, 3, 0));
  EXPECT_EQ(split.labels.sets.count, 4);
  EXPECT_THAT(refusal([] { libsvm("1,x 1:1\n"); }), HasSubstr("label, found 'x'"));
  EXPECT_THAT(refusal([] { libsvm("1,-3 1:1\n"); }), HasSubstr("label, found -3"));
}

TEST(Libsvm, LinesWithoutACharacterAreNoSamplesOfSetsEither) {
  const RawSplit split = libsvm("1,3 1:1\n\n \n\r\n0 1:2\n\n");
  EXPECT_THAT(split.labels.sets.row_ptr, ElementsAre(0, 2, 2, 3));
  EXPECT_EQ(split.inputs.samples, 3);
  EXPECT_EQ(libsvm("1,3 1:1\n\n0 1:2\n", {.max_rows = 2}).inputs.samples, 2);
}

TEST(Libsvm, ReadsSetsWithoutACommaWhereToldSo) {
  const RawSplit split = libsvm("3 1:1\n 2:1\n", {.label_sets = true});
  EXPECT_THAT(split.labels.sets.row_ptr, ElementsAre(0, 1, 1));
  EXPECT_THAT(split.labels.sets.labels, ElementsAre(3));
}

TEST(Libsvm, RefusesFeaturesAndLabelsThatAFewBytesClaim) {
  EXPECT_THAT(refusal([] { libsvm("1 0:1 2147483647:1\n"); }),
              HasSubstr("index, found 2147483647, expected at most 2147483646 of 2147483647 features"));
  EXPECT_THAT(
      refusal([] { libsvm("1 2147483647:1\n"); }),
      HasSubstr("features, found 2147483647, expected at most 4195328 where 1 are stored; data.features"));
  EXPECT_EQ(libsvm("1 1:1\n", {.features = 2147483647}).inputs.features, 2147483647);
  EXPECT_THAT(refusal([] { libsvm("1,2147483646 1:1\n"); }),
              HasSubstr("labels, found 2147483647, expected at most 4196352 where 2 are stored"));
  EXPECT_THAT(refusal([] { xmc("1 5 2147483647\n0 1:1\n"); }),
              HasSubstr("labels of the first line, found 2147483647"));
  EXPECT_THAT(refusal([] { xmc("1 2147483647 5\n0 1:1\n"); }),
              HasSubstr("features of the first line, found 2147483647"));
}

TEST(Libsvm, ASumThatIsNotFiniteIsRefusedLikeAValue) {
  const ReadOptions sum{.duplicates = "sum"};
  EXPECT_THAT(refusal([&] { libsvm("1 1:1\n1 3:3e38 3:3e38\n", sum); }),
              HasSubstr("f:2: values, found a sum of inf at index 3"));
  EXPECT_EQ(
      libsvm("1 3:3e38 3:3e38\n", {.duplicates = "sum", .allow_nonfinite = true}).inputs.sparse.values[0],
      kInfinity);
}

TEST(Libsvm, RefusesWithTheLine) {
  EXPECT_THAT(refusal([] { libsvm("1 1:1\n1 2:x\n"); }),
              HasSubstr("f:2: field, found '2:x', expected index:value"));
  for (const char* bad :
       {"1 2:", "1 :2", "1 2", "1 -2:1", "1 2:1:3", "1 2147483648:1", "1 2:1x", "x 1:1", " 1:1", "1:2 3:4"})
    EXPECT_THAT(refusal([&] { libsvm(bad); }), HasSubstr("f:1: ")) << bad;
  EXPECT_THAT(refusal([] { libsvm(std::string("1 1:1\0", 6)); }), HasSubstr("f@5: text, found a zero byte"));
  EXPECT_THAT(refusal([] { libsvm("1 1:1e50\n"); }),
              HasSubstr("value, found '1:1e50', expected a finite number"));
}

TEST(Libsvm, ReadsNothingBeyondItsLastByte) {
  // As the fuzzer found it: a file that ends after a colon. Every other end, too, for sanitizers to look at.
  const std::string text = "# c\n+1 58:1 480:1 2414:-1.5e+3";
  for (std::size_t size = 0; size < text.size(); ++size) {
    try {
      libsvm(text.substr(0, size));
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadData);
    }
  }
}

TEST(Libsvm, StopsAtAsManyRowsAsAskedFor) {
  EXPECT_EQ(libsvm("1 1:1\n2 1:1\n3 1:1\n", {.max_rows = 2}).inputs.samples, 2);
  EXPECT_THAT(refusal([] { libsvm(""); }), HasSubstr("text, found its end, expected samples"));
}

TEST(Libsvm, IsToldFromOtherTexts) {
  for (const char* yes :
       {"1 1:1\n", "1,3 2:1\n", " 2:1\n", "# a\n\n0 1:1\n", "+1 5:0.3 7:2\n", "-1.5 qid:1 3:1\n"})
    EXPECT_TRUE(is_libsvm(bytes_of(yes))) << yes;
  for (const char* no :
       {"1,2,3\n", "# 1 1:1", "1,2 a:1\n", "a b c\n", "x;12:30;y\n", "12:30 x\n", "", "time,at 12:30\n"})
    EXPECT_FALSE(is_libsvm(bytes_of(no))) << no;
}

TEST(Xmc, KeepsRowsWithoutLabels) {
  const RawSplit split = xmc("3 5 4\n3,0 1:0.5 4:1\n 2:1\n1 \n");
  EXPECT_EQ(split.inputs.samples, 3);
  EXPECT_EQ(split.inputs.features, 5);
  EXPECT_EQ(split.labels.sets.count, 4);
  EXPECT_THAT(split.labels.sets.row_ptr, ElementsAre(0, 2, 2, 3));
  EXPECT_THAT(split.labels.sets.labels, ElementsAre(0, 3, 1));
  EXPECT_THAT(split.inputs.sparse.columns, ElementsAre(1, 4, 2));
  EXPECT_THAT(xmc("1 5 4\n2:1\n").labels.sets.labels, IsEmpty());
}

TEST(Xmc, RefusesWhatContradictsItsFirstLine) {
  EXPECT_THAT(refusal([] { xmc("2 5 4\n0 1:1\n"); }), HasSubstr("samples, found 1, expected 2"));
  EXPECT_THAT(refusal([] { xmc("1 5 4\n0 1:1\n0 1:1\n"); }), HasSubstr("samples, found more, expected 1"));
  EXPECT_THAT(refusal([] { xmc("1 5 4\n4 1:1\n"); }), HasSubstr("label, found 4, expected below 4"));
  EXPECT_THAT(refusal([] { xmc("1 5 4\n0 5:1\n"); }), HasSubstr("index, found 5, expected below 5"));
  EXPECT_THAT(refusal([] { xmc("1 5\n0 1:1\n"); }), HasSubstr("first line"));
  EXPECT_THAT(refusal([] { xmc("1 5 4 3\n0 1:1\n"); }), HasSubstr("first line"));
  EXPECT_THAT(refusal([] { xmc("1 5 0\n 1:1\n"); }), HasSubstr("labels of the first line"));
}

}  // namespace
}  // namespace tulle::testing
