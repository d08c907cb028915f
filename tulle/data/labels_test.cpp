#include "tulle/data/labels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tulle/data/data_testing.h"

namespace tulle::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

RawLabels numbers(std::vector<double> values) { return {.numbers = std::move(values), .names = {}}; }
RawLabels names(std::vector<std::string> values) { return {.numbers = {}, .names = std::move(values)}; }

TEST(ClassNames, NumbersAreInNumericOrderAndNamesInTheOrderOfTheirBytes) {
  EXPECT_THAT(class_names_of(numbers({10, 9, -1, 9, 10}), "f"), ElementsAre("-1", "9", "10"));
  EXPECT_THAT(class_names_of(names({"b", "10", "a", "9", "B"}), "f"), ElementsAre("10", "9", "B", "a", "b"));
}

TEST(ClassNames, MinusZeroIsZero) {
  EXPECT_THAT(class_names_of(numbers({0.0, 1, -0.0}), "f"), ElementsAre("0", "1"));
}

TEST(ClassNames, FewerThanTwoClassesAreRefused) {
  EXPECT_EQ(refusal([] {
              class_names_of(numbers({3, 3}), "f");
            }),
            "f: classes, found 1, expected at least 2");
  refusal([] { class_names_of(names({"a"}), "f"); });
}

TEST(ClassNames, LabelsThatAreNoWholeNumbersAreRefusedWithTheirRow) {
  EXPECT_EQ(refusal([] {
              class_names_of(numbers({1, 2, 1.5}), "f");
            }),
            "f: label of row 3, found 1.5, expected a whole number of classes; data.task = \"regression\" "
            "takes all numbers");
  for (const double label : {double{kNan}, double{kInfinity}, 1e300})
    EXPECT_THAT(refusal([&] { class_names_of(numbers({1, label}), "f"); }), HasSubstr("label of row 2"));
}

TEST(Classes, AreTheLabelsPlacesAmongTheNamesWhateverTheyWereWrittenLike) {
  EXPECT_THAT(classes_of(numbers({1, -1.0}), {"-1", "1"}, "f", false), ElementsAre(1, 0));
  EXPECT_THAT(classes_of(names({"1", "-1"}), {"-1", "1"}, "f", false), ElementsAre(1, 0));
}

TEST(Classes, ANumberIsTheNameItIsWrittenAsWhereThereIsOne) {
  RawLabels written = numbers({1, 2});
  written.texts = {"01", "2"};
  EXPECT_THAT(classes_of(written, {"01", "2", "x"}, "f", false), ElementsAre(0, 1));
  EXPECT_THAT(classes_of(written, {"1", "2"}, "f", false), ElementsAre(0, 1));
}

TEST(Classes, AnUnknownLabelIsRefusedWithItsRowOrIgnored) {
  EXPECT_EQ(refusal([] {
              classes_of(numbers({1, 7}), {"-1", "1"}, "f", false);
            }),
            "f: label of row 2, found '7', expected one of the 2 classes of the training data; "
            "data.ignore_unknown_labels leaves such samples out");
  EXPECT_THAT(classes_of(names({"x", "1"}), {"-1", "1"}, "f", true), ElementsAre(-1, 1));
  refusal([] { classes_of(numbers({0.5}), {"0", "1"}, "f", true); });  // a fraction is no class at all
}

TEST(Targets, AreTheNumbersAndNothingElse) {
  EXPECT_THAT(targets_of(numbers({1.5, -2}), "f"), ElementsAre(1.5f, -2.0f));
  EXPECT_THAT(refusal([] { targets_of(names({"red"}), "f"); }), HasSubstr("row 1, found 'red'"));
  EXPECT_THAT(refusal([] { targets_of(numbers({1, 1e39}), "f"); }), HasSubstr("row 2, found 1e+39"));
}

}  // namespace
}  // namespace tulle::testing
