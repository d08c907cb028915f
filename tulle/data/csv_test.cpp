#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <clocale>
#include <locale>

#include "tulle/data/data_testing.h"
#include "tulle/data/readers.h"

namespace tulle {
ReadBytes read_csv;
}  // namespace tulle

namespace tulle::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatEq;
using ::testing::HasSubstr;
using ::testing::StartsWith;

RawSplit read_csv(const std::string& text, const ReadOptions& options = {}) {
  return read_csv(bytes_of(text), "f.csv", options);
}
ReadOptions unlabelled() { return {.label_column = "none"}; }

TEST(Csv, TheLastColumnIsTheLabelUnlessToldOtherwise) {
  const std::string text = "1,2,3\n4,5,6\n";
  const RawSplit last = read_csv(text);
  EXPECT_EQ(last.inputs.samples, 2);
  EXPECT_EQ(last.inputs.features, 2);
  EXPECT_THAT(last.inputs.floats, ElementsAre(1, 2, 4, 5));
  EXPECT_THAT(last.labels.numbers, ElementsAre(3, 6));
  EXPECT_THAT(read_csv(text, {.label_column = "first"}).labels.numbers, ElementsAre(1, 4));
  EXPECT_THAT(read_csv(text, {.label_column = "1"}).inputs.floats, ElementsAre(1, 3, 4, 6));
  EXPECT_THAT(read_csv(text, unlabelled()).inputs.floats, ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_EQ(read_csv(text, unlabelled()).labels.size(), 0u);
  EXPECT_THAT(read_csv("a,b,c\n1,2,3\n", {.label_column = "b"}).labels.numbers, ElementsAre(2));
}

TEST(Csv, AColumnNameMeansAHeaderEvenIfAllNamesAreNumbers) {
  EXPECT_THAT(read_csv("2020,y2021\n1,2\n", {.label_column = "y2021"}).inputs.floats, ElementsAre(1));
}

TEST(Csv, ALabelColumnThatIsNotThereIsRefusedWithTheChoice) {
  for (const std::string column : {"colour", "3", "-1"})
    EXPECT_EQ(refusal([&] { read_csv("a,b,c\n1,2,3\n", {.label_column = column}); }),
              "f.csv:1: label column, found '" + column +
                  "', expected first, last, none, 0 to 2 or a name in the header");
  EXPECT_THAT(refusal([] { read_csv("a,1\nb,2\n", {.header = "no", .label_column = "a"}); }),
              HasSubstr("label column"));
}

TEST(Csv, SeparatorsAreSeenOrTold) {
  for (const std::string separator : {",", ";", "\t", " ", "  "})
    EXPECT_THAT(read_csv("1" + separator + "2" + separator + "3\n").inputs.floats, ElementsAre(1, 2))
        << separator;
  for (const std::string name : {"comma", ",", "semicolon", ";", "tab", "\t", "\\t", "blank", " "}) {
    const char character = name[0] == 'c' ? ',' : name[0] == 's' ? ';' : name[0] == 'b' ? ' ' : name[0];
    const std::string text =
        std::string("1") + (character == '\\' || character == 't' ? '\t' : character) + "2\n";
    EXPECT_THAT(read_csv(text, {.sep = name}).labels.numbers, ElementsAre(2)) << name;
  }
  EXPECT_THAT(read_csv("\"a,b,c\";1;2\n", {.label_column = "first"}).inputs.floats, ElementsAre(1, 2));
  EXPECT_THAT(refusal([] { read_csv("1,2\n", {.sep = "dot"}); }, ErrorKind::kConfig), HasSubstr("data.sep"));
}

TEST(Csv, BlanksInAnyNumberSeparateAndMeanNothingAtTheEndsOfLines) {
  EXPECT_THAT(read_csv("  1\t2 \t 3 \n4 5 6  \r\n", {.sep = "blank", .label_column = "none"}).inputs.floats,
              ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST(Csv, TheMostFrequentSeparatorOfTheFirstLineIsTaken) {
  EXPECT_THAT(read_csv("1,2,a;b\n").labels.names, ElementsAre("a;b"));
  EXPECT_THAT(read_csv("1;2;a,b\n").labels.names, ElementsAre("a,b"));
}

TEST(Csv, ATabSeparatesByItselfWhereItIsSeen) {
  EXPECT_THAT(read_csv("1\tNew York\n2\tOslo\n").labels.names, ElementsAre("New York", "Oslo"));
}

TEST(Csv, MarkCarriageReturnsEmptyLinesAndAMissingLastLineEndAreReadRight) {
  EXPECT_THAT(read_csv("\xef\xbb\xbf"
                       "1,2\r\n\r\n\n3,4",
                       unlabelled())
                  .inputs.floats,
              ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(read_csv("1,a\r\n2,b\r\n").labels.names, ElementsAre("a", "b"));
  EXPECT_THAT(read_csv("1,a\n2,b\r").labels.names, ElementsAre("a", "b"));
  EXPECT_THAT(read_csv("1,\"a\"\r\n2,\"b\"\r").labels.names, ElementsAre("a", "b"));
  EXPECT_THAT(read_csv("\n\n1,2\n", unlabelled()).inputs.floats, ElementsAre(1, 2));
}

TEST(Csv, QuotedFieldsMayHoldSeparatorsLineEndsAndQuotes) {
  EXPECT_THAT(read_csv("1,\"a,b\"\n2,\"c\nd\"\n3,\"say \"\"hi\"\"\"\n4,\"\"\"\"\n").labels.names,
              ElementsAre("a,b", "c\nd", "say \"hi\"", "\""));
  EXPECT_THAT(read_csv("\"1\",\"2.5\"\n", unlabelled()).inputs.floats, ElementsAre(1, 2.5));
}

TEST(Csv, LinesAreCountedAcrossQuotedLineEndsAndEmptyLines) {
  EXPECT_THAT(refusal([] { read_csv("1,\"a\nb\"\"\n\"\n\nx,c\n", {.header = "no"}); }),
              StartsWith("f.csv:5: column 1"));
}

TEST(Csv, WrongQuotesAreRefusedWithTheLine) {
  EXPECT_EQ(refusal([] { read_csv("1,2\n3,\"open\n5,6\n"); }),
            "f.csv:2: quoted field, found no closing quote, expected one before the end of the file");
  EXPECT_THAT(refusal([] { read_csv("1,\"a\"b\n"); }), StartsWith("f.csv:1: quoted field, found 'b' after"));
  EXPECT_THAT(refusal([] { read_csv("1,a\"b\n"); }),
              StartsWith("f.csv:1: field, found a quote in the middle"));
  refusal([] { read_csv("1,\"a\"\"\n"); });
}

TEST(Csv, NumbersAreDecimalInAnyUsualForm) {
  EXPECT_THAT(read_csv("+1,-2.5e1,.5,1E-2, 7 ,-0\n", unlabelled()).inputs.floats,
              ElementsAre(1, -25, .5f, .01f, 7, 0));
}

TEST(Csv, NumbersTooSmallForFloatAreZeroAndTooLargeOnesAreRefused) {
  EXPECT_THAT(read_csv("1e-60,-1e-60,1e-400,1E-400\n", unlabelled()).inputs.floats, ElementsAre(0, 0, 0, 0));
  EXPECT_EQ(read_csv("1e-42\n", unlabelled()).inputs.floats[0], 1e-42f);
  for (const std::string text : {"1e39", "-1e39", "1e400", "nan", "inf", "-Infinity", ""})
    EXPECT_THAT(refusal([&] { read_csv("1,1\n1," + text + "\n", unlabelled()); }),
                StartsWith("f.csv:2: column 2, found " + (text.empty() ? "nothing" : "'" + text + "'") +
                           ", expected a finite number"));
  const std::string digits(400, '1'), zeros(400, '0');
  EXPECT_THAT(read_csv("0." + zeros + "1,-." + zeros + "1\n", unlabelled()).inputs.floats, ElementsAre(0, 0));
  EXPECT_THAT(read_csv("0." + zeros + "1e399," + digits + "e-800\n", unlabelled()).inputs.floats,
              ElementsAre(FloatEq(0.01f), 0));
  refusal([&] { read_csv(digits + "e-10\n", unlabelled()); });
}

TEST(Csv, WhatIsNotFiniteIsLeftToTheCallerIfAllowed) {
  const RawSplit split =
      read_csv("1,,-inf\n", {.header = "no", .label_column = "none", .allow_nonfinite = true});
  EXPECT_TRUE(std::isnan(split.inputs.floats[1]));
  EXPECT_EQ(split.inputs.floats[2], -kInfinity);
}

TEST(Csv, OtherNotationsAreNoNumbers) {
  for (const std::string text :
       {"0x1p3", "1_000", "1.000.0", "1,5", "--1", "+-1", "+", "1e", "1 2", "one", "٣"})
    EXPECT_THAT(refusal([&] { read_csv("1;1\n" + text + ";1\n", {.sep = ";", .label_column = "none"}); }),
                HasSubstr("column 1, found '" + text + "', expected a decimal number"));
}

TEST(Csv, ALongWrongFieldIsNotRepeatedInFull) {
  EXPECT_LT(refusal([] { read_csv("1,2\n" + std::string(100000, 'x') + ",2\n"); }).size(), 200u);
}

TEST(Csv, RaggedLinesAreRefusedWithBothCounts) {
  EXPECT_THAT(refusal([] { read_csv("1,2,3\n1,2,3\n1,2\n"); }),
              StartsWith("f.csv:3: fields, found 2, expected 3"));
  EXPECT_THAT(refusal([] { read_csv("1,2,3\n1,2,3\n1,2,3,4\n"); }),
              StartsWith("f.csv:3: fields, found 4, expected 3"));
  EXPECT_THAT(refusal([] { read_csv("1,2\n1,2,\n", unlabelled()); }), HasSubstr("found 3, expected 2"));
}

TEST(Csv, ASeparatorAtTheVeryEndIsFollowedByAnEmptyField) {
  EXPECT_THAT(refusal([] { read_csv("1,2\n3,4,"); }), StartsWith("f.csv:2: fields, found 3, expected 2"));
}

TEST(Csv, AFirstLineOfAnotherWidthIsRefusedWithAHint) {
  for (const std::string first : {"2,2,red,blue", "2,2"})
    EXPECT_THAT(refusal([&] { read_csv(first + "\n1,2,0\n3,4,1\n"); }), HasSubstr("data.header = \"skip\""))
        << first;
}

TEST(Csv, BinaryBytesAreRefusedWithTheLine) {
  EXPECT_EQ(refusal([] { read_csv(std::string("1,2\n3,\0\n", 8)); }),
            "f.csv:2: text, found the byte 0x00, expected none like it");
  refusal([] { read_csv(std::string("1,\"\0\"\n", 6)); });
  refusal([] { read_csv("1,\x1b[31m\n"); });
}

TEST(Csv, UnderAutoAFirstLineThatIsNotAllNumbersIsAHeader) {
  EXPECT_EQ(read_csv("x,y,label\n1,2,3\n").inputs.samples, 1);
  EXPECT_EQ(read_csv("1,2,3\n1,2,3\n").inputs.samples, 2);
  EXPECT_EQ(read_csv("1,2,cat\n1,2,dog\n").inputs.samples, 2);  // the label may be a name
  EXPECT_EQ(read_csv("cat,1\ndog,2\n", {.label_column = "0"}).inputs.samples, 2);
  EXPECT_EQ(read_csv(",1\n,2\n", {.label_column = "none", .allow_nonfinite = true}).inputs.samples, 2);
}

TEST(Csv, ANameAboveLabelsThatAreNumbersIsAHeaderEvenIfTheFeaturesAreCalledByNumbers) {
  EXPECT_THAT(read_csv("0,1,label\n5,6,1\n7,8,0\n").labels.numbers, ElementsAre(1, 0));
  EXPECT_THAT(read_csv("label\n0\n1\n", {.label_column = "first"}).labels.numbers, ElementsAre(0, 1));
  EXPECT_THAT(read_csv("label,0\n1,5\n0,6\n", {.label_column = "first"}).labels.numbers, ElementsAre(1, 0));
  EXPECT_EQ(read_csv("0,cat\n1,dog\n2,7\n").inputs.samples, 3);
  EXPECT_EQ(read_csv("0,cat\n").inputs.samples, 1);
}

TEST(Csv, LabelsThatAreNotUtf8AreRefusedWithTheLine) {
  EXPECT_EQ(refusal([] { read_csv("1,a\n2,caf\xe9\n"); }),
            "f.csv:2: column 2, found a label in another encoding, expected text in UTF-8");
  EXPECT_THAT(read_csv("1,caf\xc3\xa9\n").labels.names, ElementsAre("caf\xc3\xa9"));
}

TEST(Csv, HeaderYesNoAndSkipAreObeyed) {
  EXPECT_EQ(read_csv("1,2\n3,4\n", {.header = "yes"}).inputs.samples, 1);
  EXPECT_EQ(read_csv("1,2\n3,4\n", {.header = "no"}).inputs.samples, 2);
  EXPECT_THAT(refusal([] { read_csv("a,b\n3,4\n", {.header = "no"}); }),
              StartsWith("f.csv:1: column 1, found 'a'"));
  EXPECT_THAT(read_csv("2 samples; \"of\n1,2\n3,4\n", {.header = "skip"}).inputs.floats, ElementsAre(1, 3));
  EXPECT_THAT(refusal([] { read_csv("skipped\n3,x,4\n", {.header = "skip"}); }),
              StartsWith("f.csv:2: column 2"));
  EXPECT_THAT(refusal([] { read_csv("1,2\n", {.header = "perhaps"}); }, ErrorKind::kConfig),
              HasSubstr("data.header"));
}

TEST(Csv, AFileWithoutSamplesIsRefused) {
  EXPECT_EQ(refusal([] { read_csv(""); }), "f.csv:1: text, found its end, expected samples");
  refusal([] { read_csv("\n\r\n\n"); });
  refusal([] { read_csv("\xef\xbb\xbf"); });
  EXPECT_THAT(refusal([] { read_csv("x,y\n"); }), HasSubstr("found a header alone"));
  refusal([] { read_csv("1,2\n", {.header = "skip"}); });
}

TEST(Csv, LabelsAreNumbersOnlyIfAllAreAndNoneIsQuoted) {
  EXPECT_THAT(read_csv("0,1\n0,-2.0\n0,+3\n").labels.numbers, ElementsAre(1, -2, 3));
  EXPECT_THAT(read_csv("0,1\n0,x\n").labels.names, ElementsAre("1", "x"));
  EXPECT_THAT(read_csv("0,\"01005\"\n0,\"3\"\n").labels.names, ElementsAre("01005", "3"));
  EXPECT_THAT(read_csv("0, red \n0,\" red \"\n").labels.names, ElementsAre("red", " red "));
  EXPECT_THAT(refusal([] { read_csv("0,1\n0, \n"); }),
              StartsWith("f.csv:2: column 2, found nothing, expected a label"));
}

TEST(Csv, MaxRowsStopsAndDoesNotLookAtTheRest) {
  const RawSplit split = read_csv("1,2\n3,4\nbroken", {.max_rows = 2});
  EXPECT_EQ(split.inputs.samples, 2);
  EXPECT_EQ(split.labels.size(), 2u);
}

TEST(Csv, NoLocaleChangesNumbers) {
  class Comma : public std::numpunct<char> {
    char do_decimal_point() const override { return ','; }
  };
  const std::locale before = std::locale::global(std::locale(std::locale::classic(), new Comma));
  std::setlocale(LC_ALL, "de_DE.UTF-8");  // where it is installed
  EXPECT_THAT(read_csv("1.5,2\n").inputs.floats, ElementsAre(1.5f));
  std::locale::global(before);
}

TEST(Csv, AMillionColumnsOrEmptyLinesOrQuotesTakeNoQuadraticTime) {
  std::string wide = "1", lines = "1,2", quotes = "1,\"";
  for (int i = 0; i < 1000000; ++i) {
    wide += ",1";
    lines += "\n";
    quotes += "\"\"";
  }
  EXPECT_EQ(read_csv(wide + "\n" + wide).inputs.features, 1000000);
  EXPECT_EQ(read_csv(lines).inputs.samples, 1);
  EXPECT_EQ(read_csv(wide + lines.substr(3)).inputs.samples,
            1);  // nor memory: columns times lines would be 4 TB
  EXPECT_EQ(read_csv(quotes + "\"").labels.names[0].size(), 1000000u);
}

}  // namespace
}  // namespace tulle::testing
