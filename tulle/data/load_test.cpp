#include "tulle/data/load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tulle/base/file_ops_testing.h"
#include "tulle/data/data_testing.h"

namespace tulle::testing {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

DataFacts facts(std::vector<std::string> class_names, std::int32_t features) {
  return {.class_names = std::move(class_names), .features = features};
}

class Load : public ::testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& text) const {
    write_text(folder_ / name, text);
    return folder_ / name;
  }
  /// A CSV for training and perhaps one for testing, scaled by nothing.
  DataOptions options(const std::string& train, const std::string& test = "") const {
    DataOptions options;
    options.train = write("train.csv", train);
    if (!test.empty()) options.test = write("test.csv", test);
    options.scale = "none";
    return options;
  }

  TemporaryDirectory folder_;
};

TEST_F(Load, TrainingLabelsBecomeClassesAndTestLabelsFollowThem) {
  const Dataset data = load_dataset(options("1,10\n2,9\n3,10\n", "4,9.0\n"));
  EXPECT_THAT(data.class_names, ElementsAre("9", "10"));
  EXPECT_THAT(data.train.classes, ElementsAre(1, 0, 1));
  EXPECT_THAT(data.train.inputs.floats, ElementsAre(1, 2, 3));
  EXPECT_THAT(data.test.classes, ElementsAre(0));
  EXPECT_EQ(data.valid.inputs.samples, 0);
  EXPECT_EQ(data.description, "csv");
}

TEST_F(Load, LabelsMayHaveTheirOwnFile) {
  DataOptions wanted;
  wanted.train = write("train", "1 2\n3 4\n");
  wanted.train_labels = write("labels", "-1\n1\n");
  const Dataset data = load_dataset(wanted);
  EXPECT_EQ(data.train.inputs.features, 2);
  EXPECT_THAT(data.class_names, ElementsAre("-1", "1"));
}

TEST_F(Load, ImagesKeepTheirShapeAndBytes) {
  DataOptions wanted;
  wanted.train = write("images", idx_head(0x08, {2, 1, 2}) + "abcd");
  wanted.train_labels = write("labels", idx_head(0x08, {2}) + "\x01\x02");
  const Dataset data = load_dataset(wanted);
  EXPECT_EQ(data.image.width, 2);
  EXPECT_THAT(data.train.inputs.bytes, ElementsAre('a', 'b', 'c', 'd'));
  EXPECT_EQ(data.description, "idx");
}

TEST_F(Load, UnequalCountsOfSamplesAndLabelsNameBothFiles) {
  DataOptions wanted;
  wanted.train = write("images", idx_head(0x08, {2, 2}) + "abcd");
  wanted.train_labels = write("labels", idx_head(0x08, {3}) + "\x01\x02\x01");
  EXPECT_EQ(refusal([&] { load_dataset(wanted); }),
            wanted.train_labels + ": labels, found 3, expected 2, the samples of " + wanted.train);
}

TEST_F(Load, MissingLabelsAreRefusedInTrainingAndTest) {
  DataOptions wanted;
  wanted.train = write("images", idx_head(0x08, {2, 2}) + "abcd");
  EXPECT_THAT(refusal([&] { load_dataset(wanted); }), StartsWith(wanted.train + ": labels, found none"));
  wanted.train_labels = write("labels", idx_head(0x08, {2}) + "\x01\x02");
  wanted.test = wanted.train;
  EXPECT_THAT(refusal([&] { load_dataset(wanted); }), HasSubstr("labels, found none"));
}

TEST_F(Load, ATestLabelUnseenInTrainingIsRefusedOrLeftOut) {
  DataOptions wanted = options("1,a\n2,b\n", "3,b\n4,c\n5,a\n");
  EXPECT_THAT(refusal([&] { load_dataset(wanted); }),
              StartsWith(wanted.test + ": label of row 2, found 'c'"));
  wanted.ignore_unknown_labels = true;
  const Dataset data = load_dataset(wanted);
  EXPECT_THAT(data.test.classes, ElementsAre(1, 0));
  EXPECT_THAT(data.test.inputs.floats, ElementsAre(3, 5));
  DataOptions none = options("1,a\n2,b\n", "3,x\n");
  none.ignore_unknown_labels = true;
  EXPECT_THAT(refusal([&] { load_dataset(none); }), HasSubstr("found none that may be used"));
}

TEST_F(Load, ATestFileWhoseNamesAreAllDigitsIsReadAsTheTrainingDataWere) {
  EXPECT_THAT(load_dataset(options("1,01\n2,02\n3,x\n", "4,02\n5,01\n")).test.classes, ElementsAre(1, 0));
}

TEST_F(Load, FractionsAndNanAreNoClasses) {
  EXPECT_THAT(refusal([&] { load_dataset(options("1,1\n2,0.5\n")); }),
              HasSubstr("label of row 2, found 0.5"));
  EXPECT_THAT(refusal([&] { load_dataset(options("1,1\n2,nan\n")); }),
              HasSubstr("label of row 2, found nan"));
  EXPECT_THAT(refusal([&] { load_dataset(options("1,1\n2,2\n", "1,1.5\n")); }), HasSubstr("label of row 1"));
}

TEST_F(Load, ATestFileOfAnotherWidthIsRefusedWithBothCounts) {
  const DataOptions wanted = options("1,1,a\n2,2,b\n", "1,a\n");
  EXPECT_EQ(refusal([&] { load_dataset(wanted); }),
            wanted.test + ": features, found 1, expected 2 as in the training data");
}

TEST_F(Load, NoSamplesNoFeaturesAndOneClassAreRefused) {
  refusal([&] { load_dataset(options("")); });
  EXPECT_THAT(refusal([&] { load_dataset(options("1\n2\n")); }), HasSubstr("features, found 0"));
  EXPECT_THAT(refusal([&] { load_dataset(options("1,a\n2,a\n")); }), HasSubstr("classes, found 1"));
  DataOptions wanted;
  wanted.train = write("images", idx_head(0x08, {0, 2}));
  EXPECT_THAT(refusal([&] { load_dataset(wanted); }), HasSubstr("samples, found 0"));
  wanted.train = write("images", idx_head(0x08, {2, 0}));
  EXPECT_THAT(refusal([&] { load_dataset(wanted); }), HasSubstr("features, found 0"));
  wanted.train = write("images", idx_head(0x08, {2}) + "ab");
  EXPECT_THAT(refusal([&] { load_dataset(wanted); }), HasSubstr("belongs to data.train_labels"));
}

TEST_F(Load, WhatIsNotFiniteIsRefusedZeroedOrDropped) {
  DataOptions wanted = options("1,2,a\n3,inf,b\n,4,b\n5,6,a\n7,8,b\n");
  EXPECT_THAT(refusal([&] { load_dataset(wanted); }), StartsWith(wanted.train + ":2: column 2, found 'inf'"));
  wanted.nan = "zero";
  EXPECT_THAT(load_dataset(wanted).train.inputs.floats, ElementsAre(1, 2, 3, 0, 0, 4, 5, 6, 7, 8));
  wanted.nan = "drop";
  const Dataset dropped = load_dataset(wanted);
  EXPECT_THAT(dropped.train.inputs.floats, ElementsAre(1, 2, 5, 6, 7, 8));
  EXPECT_THAT(dropped.train.classes, ElementsAre(0, 0, 1));
  wanted.nan = "keep";
  EXPECT_THAT(refusal([&] { load_dataset(wanted); }, ErrorKind::kConfig), HasSubstr("data.nan"));
}

TEST_F(Load, ScalingIsFittedToTrainingSamplesAloneAfterTheSplit) {
  DataOptions wanted = options("1,a\n3,b\n", "1000,a\n");
  wanted.scale = "standard";
  const Dataset data = load_dataset(wanted);
  EXPECT_THAT(data.scaling.mean, ElementsAre(2));
  EXPECT_THAT(data.scaling.deviation, ElementsAre(1));

  wanted = options("1,a\n1,a\n1,b\n5,b\n");
  wanted.scale = "standard";
  wanted.valid_fraction = 0.5;
  const Dataset split = load_dataset(wanted);
  const AlignedVector<float>& left = split.train.inputs.floats;
  ASSERT_EQ(left.size(), 2u);
  EXPECT_THAT(split.scaling.mean, ElementsAre((left[0] + left[1]) / 2));
  EXPECT_EQ(split.valid.inputs.samples, 2);
}

TEST_F(Load, RegressionTakesNumbersAsTheyAre) {
  DataOptions wanted = options("1,0.5\n2,0.5\n3,1\n", "1,-7.25\n");
  wanted.regression = true;
  const Dataset data = load_dataset(wanted);
  EXPECT_THAT(data.class_names, IsEmpty());
  EXPECT_THAT(data.train.classes, IsEmpty());
  EXPECT_THAT(data.train.targets, ElementsAre(0.5f, 0.5f, 1.0f));
  EXPECT_THAT(data.test.targets, ElementsAre(-7.25f));
}

TEST_F(Load, MaxRowsHoldsForEachFile) {
  DataOptions wanted = options("1,a\n2,b\n3,a\n", "4,a\n5,b\n6,a\n");
  wanted.max_rows = 2;
  const Dataset data = load_dataset(wanted);
  EXPECT_EQ(data.train.inputs.samples, 2);
  EXPECT_EQ(data.test.inputs.samples, 2);
}

TEST_F(Load, OptionsThatCannotBeAreConfigErrors) {
  const auto config_error = [](const DataOptions& wanted) {
    return refusal([&] { load_dataset(wanted); }, ErrorKind::kConfig);
  };
  EXPECT_THAT(config_error({}), HasSubstr("data.train"));
  DataOptions wanted = options("1,a\n2,b\n");
  for (const double fraction : {-0.1, 1.0, double{kNan}}) {
    wanted.valid_fraction = fraction;
    EXPECT_THAT(config_error(wanted), HasSubstr("data.valid_fraction"));
  }
  DataOptions both = options("1,a\n");
  both.format = "fashion-mnist";
  EXPECT_THAT(config_error(both), HasSubstr("expected none with data.format"));
  both.train = "";
  for (std::string* const file : {&both.train_labels, &both.test, &both.test_labels}) {
    *file = "y";
    EXPECT_THAT(config_error(both), HasSubstr("found the file y, expected none with data.format"));
    *file = "";
  }
  wanted = options("1,a\n2,b\n");
  wanted.test_labels = "y";
  EXPECT_THAT(config_error(wanted), HasSubstr("data.test_labels, found a file"));
  refusal([] { load_labelled_split({.train = "fashion-mnist", .train_labels = "y"}, {}); },
          ErrorKind::kConfig);
  refusal([] { load_dataset({.train = "/nowhere"}); }, ErrorKind::kMissingInput);
}

TEST_F(Load, EvaluationUsesTheModelsClassesAndFeatures) {
  const DataOptions wanted = options("1,b\n2,b\n");  // one class alone is enough here
  EXPECT_THAT(load_labelled_split(wanted, facts({"a", "b"}, 1)).classes, ElementsAre(1, 1));
  EXPECT_THAT(refusal([&] { load_labelled_split(wanted, facts({"a", "c"}, 1)); }), HasSubstr("found 'b'"));
  EXPECT_EQ(refusal([&] {
              load_labelled_split(wanted, facts({"a", "b"}, 2));
            }),
            wanted.train + ": features, found 1, expected 2 as in the model");
  EXPECT_THAT(load_labelled_split(options("1,2.5\n"), facts({}, 1)).targets, ElementsAre(2.5f));
  refusal([] { load_labelled_split({}, facts({"a", "b"}, 1)); }, ErrorKind::kConfig);
}

TEST_F(Load, InputsNeedNoLabelsAndLeaveALabelColumnAside) {
  DataOptions wanted = options("1,2\n3,4\n");
  EXPECT_THAT(load_inputs(wanted, facts({}, 1)).floats, ElementsAre(1, 3));
  wanted.label_column = "none";
  EXPECT_THAT(load_inputs(wanted, facts({}, 2)).floats, ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(refusal([&] { load_inputs(wanted, facts({}, 3)); }),
              HasSubstr("found 2, expected 3 as in the model"));
  DataOptions missing = options("1,2\n,4\n");
  missing.nan = "zero";
  EXPECT_THAT(load_inputs(missing, facts({}, 1)).floats, ElementsAre(1, 0));
}

TEST_F(Load, FashionMnistIsFoundByItsNameAlone) {
  write("train-images-idx3-ubyte.gz", idx_head(0x08, {3, 1, 2}) + "aabbcc");
  write("train-labels-idx1-ubyte.gz", idx_head(0x08, {3}) + "\x01\x02\x01");
  write("t10k-images-idx3-ubyte.gz", idx_head(0x08, {1, 1, 2}) + "zz");
  write("t10k-labels-idx1-ubyte.gz", idx_head(0x08, {1}) + "\x02");
  setenv("TULLE_FASHION_MNIST", folder_.path().c_str(), 1);
  const Dataset data = load_dataset({.format = "fashion-mnist"});
  EXPECT_EQ(data.train.inputs.samples, 3);
  EXPECT_THAT(data.test.classes, ElementsAre(1));
  EXPECT_EQ(data.description, "fashion-mnist");
  for (const DataOptions& wanted :
       {DataOptions{.format = "fashion-mnist"}, DataOptions{.train = "fashion-mnist"}}) {
    EXPECT_THAT(load_labelled_split(wanted, facts({"1", "2"}, 2)).classes, ElementsAre(1));
    EXPECT_THAT(load_inputs(wanted, facts({}, 2)).bytes, Each('z'));
  }
  unsetenv("TULLE_FASHION_MNIST");
}

TEST_F(Load, SparseTestDataHasTheTrainingDatasFeaturesAndBase) {
  DataOptions wanted = options("1 1:5 3:2\n2 2:1\n");
  wanted.test = write("test", "2 1:1\n1 2:7\n");
  Dataset data = load_dataset(wanted);
  EXPECT_EQ(data.train.inputs.features, 3);
  EXPECT_EQ(data.test.inputs.features, 3);
  EXPECT_EQ(data.index_base, 1);
  EXPECT_THAT(data.test.inputs.sparse.columns, ElementsAre(0, 1));
  write("test", "2 4:1\n");
  EXPECT_THAT(refusal([&] { load_dataset(wanted); }),
              HasSubstr("index, found 4, expected at most 3 of 3 features"));

  wanted = options("1 0:5 2:2\n2 1:1\n");  // an index 0: counted from 0
  wanted.test = write("test", "1 1:7\n");  // which this part alone would not show
  data = load_dataset(wanted);
  EXPECT_EQ(data.index_base, 0);
  EXPECT_THAT(data.test.inputs.sparse.columns, ElementsAre(1));
  wanted.index_base = 1;
  EXPECT_THAT(refusal([&] { load_dataset(wanted); }), HasSubstr("index, found 0, expected 1 or more"));
  wanted.index_base = 0;
  wanted.features = 9;
  EXPECT_EQ(load_dataset(wanted).train.inputs.features, 9);
}

TEST_F(Load, SparseInputsAreScaledWithoutAShiftAndSplitByRows) {
  DataOptions wanted = options("1 1:4 3:2\n1 1:4\n2 2:1\n2 2:-3 3:2\n");
  wanted.scale = "maxabs";
  EXPECT_THAT(load_dataset(wanted).scaling.deviation, ElementsAre(4, 3, 2));
  wanted.scale = "standard";
  const Dataset data = load_dataset(wanted);
  EXPECT_THAT(data.scaling.mean, Each(0.0f));
  EXPECT_THAT(data.scaling.deviation, ElementsAre(2, std::sqrt(9.0f / 4), 1));
  wanted.valid_fraction = 0.5;
  const Dataset halves = load_dataset(wanted);
  EXPECT_EQ(halves.train.inputs.samples, 2);
  EXPECT_EQ(halves.valid.inputs.samples, 2);
  EXPECT_EQ(halves.train.inputs.sparse.values.size() + halves.valid.inputs.sparse.values.size(), 6u);
}

TEST_F(Load, LabelSetsAreMatchedByNumber) {
  DataOptions wanted = options("2 3 4\n0,3 0:1\n 2:1\n");
  const Dataset data = load_dataset(wanted);
  EXPECT_THAT(data.class_names, ElementsAre("0", "1", "2", "3"));
  EXPECT_THAT(data.train.sets.row_ptr, ElementsAre(0, 2, 2));
  EXPECT_TRUE(data.train.classes.empty());
  wanted.train = write("more", "1 3 5\n4 0:1\n");
  EXPECT_THAT(refusal([&] { load_labelled_split(wanted, facts(data.class_names, 3)); }),
              HasSubstr("labels, found 5, expected 4"));
}

TEST_F(Load, TestLabelsAreSetsIfThoseOfTheTrainingAreAndNotElse) {
  DataOptions wanted = options("0,2 1:1\n1 2:1\n", "1 1:1\n 2:1\n2 1:3\n");
  const Dataset data = load_dataset(wanted);
  EXPECT_THAT(data.test.sets.row_ptr, ElementsAre(0, 1, 1, 2));
  EXPECT_THAT(data.test.sets.labels, ElementsAre(1, 2));
  EXPECT_THAT(data.test.classes, IsEmpty());
  wanted.test = write("test.csv", "7,8,2\n9,9,1\n");  // of another reader
  wanted.format = "auto";
  EXPECT_THAT(load_dataset(wanted).test.sets.labels, ElementsAre(2, 1));
  wanted = options("0 1:1\n1 2:1\n", "0,1 1:1\n");
  EXPECT_EQ(
      refusal([&] { load_dataset(wanted); }),
      wanted.test + ": labels, found several of a sample, expected one of each as in the training data");
  wanted.train = wanted.test;
  DataFacts model = facts({"0", "1"}, 2);
  EXPECT_EQ(load_labelled_split(wanted, model).sets.labels.size(), 2u);
  model.one_label = true;
  EXPECT_THAT(refusal([&] { load_labelled_split(wanted, model); }), HasSubstr("found several of a sample"));
}

TEST_F(Load, RegressionRefusesSeveralLabelsOfASample) {
  DataOptions wanted = options("0,2 1:1\n1 2:1\n");
  wanted.regression = true;
  EXPECT_EQ(
      refusal([&] { load_dataset(wanted); }),
      wanted.train +
          ": labels, found several of a sample, expected one number of each with data.task = \"regression\"");
}

TEST_F(Load, AFractionThatTakesNoSampleIsRefused) {
  DataOptions wanted = options("1,a\n2,b\n3,a\n4,b\n");
  wanted.valid_fraction = 0.01;
  EXPECT_EQ(
      refusal([&] { load_dataset(wanted); }, ErrorKind::kConfig),
      "data.valid_fraction, found 0.01, expected 0 or a larger share: it takes none of 4 training samples");
}

TEST_F(Load, NonfiniteSparseValuesAreTreatedAsAskedFor) {
  DataOptions wanted = options("1 1:4 3:nan\n1 1:4\n2 2:inf\n2 2:-3 3:2\n");
  EXPECT_THAT(refusal([&] { load_dataset(wanted); }), HasSubstr("value, found '3:nan'"));
  wanted.nan = "zero";
  EXPECT_THAT(load_dataset(wanted).train.inputs.sparse.values, ElementsAre(4, 0, 4, 0, -3, 2));
  wanted.nan = "drop";
  EXPECT_THAT(load_dataset(wanted).train.classes, ElementsAre(0, 1));
}

}  // namespace
}  // namespace tulle::testing
