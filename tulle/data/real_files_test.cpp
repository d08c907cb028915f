// The traps of real files: users_and_interfaces.md, section 5.1.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <numeric>

#include "tulle/data/csv_scanner.h"
#include "tulle/data/data_testing.h"
#include "tulle/data/gzip.h"
#include "tulle/data/load.h"
#include "tulle/data/readers.h"

namespace tulle::testing {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::int64_t> class_counts(const Split& split, std::size_t classes) {
  std::vector<std::int64_t> counts(classes, 0);
  for (const std::int32_t c : split.classes) ++counts[static_cast<std::size_t>(c)];
  return counts;
}

// CRC-32 as zlib has it; the expected ones were taken with Python's zlib from files of well-known MD5.
std::uint32_t crc(std::span<const std::uint8_t> bytes) {
  return static_cast<std::uint32_t>(crc32(0, bytes.data(), static_cast<uInt>(bytes.size())));
}

TEST_F(RealFiles, MnistIsBitExact) {
  DataOptions options;
  options.train = file("mnist/train-images-idx3-ubyte.gz");
  options.train_labels = file("mnist/train-labels-idx1-ubyte.gz");
  options.test = file("mnist/t10k-images-idx3-ubyte.gz");
  options.test_labels = file("mnist/t10k-labels-idx1-ubyte.gz");
  const Dataset data = load_dataset(options);
  EXPECT_EQ(data.train.inputs.features, 784);
  EXPECT_EQ(crc(data.train.inputs.bytes), 0xf3639b56u);
  EXPECT_EQ(crc(data.test.inputs.bytes), 0xe4ca5f57u);
  EXPECT_EQ(data.image.height, 28);
  EXPECT_THAT(class_counts(data.train, 10),
              ElementsAre(5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949));
  EXPECT_THAT(class_counts(data.test, 10),
              ElementsAre(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009));
  // Pixels of the border never vary.
  EXPECT_EQ(std::count(data.scaling.deviation.begin(), data.scaling.deviation.end(), 0.0f), 67);
}

class RealFashionMnist : public RealFiles {
 protected:
  void SetUp() override { need("/usr/share/datasets/fashion-mnist"); }
};

TEST_F(RealFashionMnist, LoadsByItsNameAndSplitsStratified) {
  const Dataset data = load_dataset({.format = "fashion-mnist", .valid_fraction = 0.1});
  EXPECT_THAT(class_counts(data.train, 10), Each(5400));
  EXPECT_THAT(class_counts(data.valid, 10), Each(600));
  EXPECT_THAT(class_counts(data.test, 10), Each(1000));
  EXPECT_EQ(crc(data.test.inputs.bytes), 0x12728439u);
  EXPECT_THAT(data.scaling.deviation, Each(::testing::Gt(0.0f)));
}

TEST_F(RealFiles, FourDimensionalIdxIsImagesWithChannels) {
  const RawSplit split = read_file("auto", file("imagenette/imagenette64-train-images-idx4-ubyte.gz"), {});
  EXPECT_EQ(split.inputs.samples, 600);
  EXPECT_EQ(split.image.channels, 3);
  EXPECT_EQ(split.image.height, 64);
  EXPECT_EQ(crc(split.inputs.bytes), 0xeca6273du);
  EXPECT_EQ(read_labels("auto", file("imagenette/imagenette64-train-labels-idx1-ubyte.gz"), {}).size(), 600u);
}

TEST_F(RealFiles, AVeryWideTableWithNamesForLabelsAndClassesOfOneMember) {
  DataOptions options;
  options.train = file("microarray/ALL_molbiol_128x12625.csv.gz");
  options.label_column = "first";
  options.valid_fraction = 0.25;
  const Dataset data = load_dataset(options);
  EXPECT_EQ(data.train.inputs.features, 12625);
  EXPECT_EQ(data.train.inputs.samples + data.valid.inputs.samples, 128);
  EXPECT_EQ(data.valid.inputs.samples, 32);
  EXPECT_THAT(data.class_names, ElementsAre("ALL1/AF4", "BCR/ABL", "E2A/PBX1", "NEG", "NUP-98", "p15/p16"));
  EXPECT_THAT(class_counts(data.valid, 6), ElementsAre(3, 9, 1, 19, 0, 0));
  options.valid_fraction = 0.0;
  const Dataset whole = load_dataset(options);
  EXPECT_THAT(class_counts(whole.train, 6), ElementsAre(10, 37, 5, 74, 1, 1));
  EXPECT_EQ(whole.train.inputs.floats[0], 7.5973f);
  EXPECT_EQ(whole.train.inputs.floats.back(), 3.8425f);
}

TEST_F(RealFiles, QuotedIdsKeepTheirZerosAndTextIsNoFeature) {
  const std::string path = file("microarray/ALL_pheno.csv");
  const std::string text = text_of(read_content(path));
  std::deque<std::string> unescaped;
  CsvScanner scanner(text, path, ',', unescaped);
  std::vector<std::string_view> ids;
  while (scanner.start_line()) {
    ids.push_back(scanner.field().text);
    while (scanner.in_line()) scanner.field();
  }
  ASSERT_EQ(ids.size(), 129u);
  EXPECT_EQ(ids[0], "");
  EXPECT_EQ(ids[1], "01005");
  EXPECT_THAT(refusal([&] { read_file("csv", path, {.label_column = "first"}); }),
              HasSubstr("ALL_pheno.csv:2: column 2, found 'B2', expected a decimal number"));
}

TEST_F(RealFiles, AFirstLineOfCountsAndClassNamesIsSkippedOrRefusedWithTheHint) {
  struct Table {
    std::string name;
    std::int64_t samples;
    std::int32_t features;
    std::vector<std::int64_t> counts;
  };
  for (const Table& table :
       {Table{"small/breast_cancer.csv", 569, 30, {212, 357}}, Table{"small/iris.csv", 150, 4, {50, 50, 50}},
        Table{"small/wine_data.csv", 178, 13, {59, 71, 48}}}) {
    DataOptions options;
    options.train = file(table.name);
    options.header = "skip";
    const Dataset data = load_dataset(options);
    EXPECT_EQ(data.train.inputs.samples, table.samples) << table.name;
    EXPECT_EQ(data.train.inputs.features, table.features) << table.name;
    EXPECT_EQ(class_counts(data.train, table.counts.size()), table.counts) << table.name;
    options.header = "auto";
    if (table.features == 4)  // as many names as columns: nothing tells it from a header
      EXPECT_EQ(load_dataset(options).train.inputs.samples, table.samples);
    else
      EXPECT_THAT(refusal([&] { load_dataset(options); }),
                  AllOf(HasSubstr(".csv:2: fields"), HasSubstr("data.header = \"skip\"")))
          << table.name;
  }
}

TEST_F(RealFiles, ATableWithoutHeaderAndItsLabelLast) {
  DataOptions options;
  options.train = file("small/digits.csv.gz");
  const Dataset data = load_dataset(options);
  EXPECT_THAT(class_counts(data.train, 10), ElementsAre(178, 182, 177, 183, 181, 182, 181, 179, 174, 180));
  const AlignedVector<float>& values = data.train.inputs.floats;
  EXPECT_EQ(std::accumulate(values.begin(), values.end(), 0.0), 561718.0);
}

TEST_F(RealFiles, FloatsWithNineDigitsComeBackExactly) {
  const std::string path = file("higgs/HIGGS_19610.csv.gz");
  const RawSplit split = read_file("auto", path, {.label_column = "first"});
  EXPECT_EQ(split.inputs.samples, 19610);
  EXPECT_EQ(split.inputs.features, 28);
  EXPECT_EQ(std::count(split.labels.numbers.begin(), split.labels.numbers.end(), 0.0), 9245);
  std::string written;
  for (std::int64_t row = 0; row < split.inputs.samples; ++row) {
    written += fmt::format("{}", split.labels.numbers[static_cast<std::size_t>(row)]);
    for (std::int64_t f = 0; f < 28; ++f) written += fmt::format(",{:.9g}", split.inputs.at(row, f));
    written += '\n';
  }
  EXPECT_TRUE(written == text_of(read_content(path)));
}

TEST_F(RealFiles, BlanksAtLineEndsAndLabelsApart) {
  for (const auto& [part, samples, sum] :
       {std::tuple{"train", 2000, 488083511.0}, {"valid", 600, 146395833.0}}) {
    DataOptions options;
    options.train = file(fmt::format("madelon/madelon_{}.data", part));
    options.train_labels = file(fmt::format("madelon/madelon_{}.labels", part));
    const Dataset data = load_dataset(options);
    EXPECT_EQ(data.train.inputs.features, 500);
    EXPECT_THAT(data.class_names, ElementsAre("-1", "1"));
    EXPECT_THAT(class_counts(data.train, 2), Each(samples / 2));
    const AlignedVector<float>& values = data.train.inputs.floats;
    EXPECT_EQ(std::accumulate(values.begin(), values.end(), 0.0), sum) << part;  // madelon.param
  }
}

TEST_F(RealFiles, AdultIsCountedFromZeroKeepsItsLastRowAndItsExplicitZero) {
  DataOptions options;
  options.train = file("libsvm/adult.trn.gz");
  options.test = file("libsvm/adult.tst.gz");
  const Dataset data = load_dataset(options);
  EXPECT_EQ(data.index_base, 0);
  EXPECT_EQ(data.train.inputs.samples, 32561);
  EXPECT_EQ(data.test.inputs.samples, 16281);
  EXPECT_EQ(data.train.inputs.features, 123);
  EXPECT_EQ(data.train.inputs.sparse.values.size(), 451592u);
  EXPECT_EQ(data.test.inputs.sparse.values.size(), 225732u);
  EXPECT_THAT(class_counts(data.train, 2), ElementsAre(24720, 7841));
  EXPECT_THAT(class_counts(data.test, 2), ElementsAre(12435, 3846));
}

TEST_F(RealFiles, ReutersHasBlanksAtLineEndsAndIsCountedFromOne) {
  DataOptions options;
  options.train = file("libsvm/reuters.trn.gz");
  options.test = file("libsvm/reuters.tst.gz");
  const Dataset data = load_dataset(options);
  EXPECT_EQ(data.index_base, 1);
  EXPECT_EQ(data.train.inputs.features, 8315);
  EXPECT_EQ(data.train.inputs.sparse.values.size(), 339837u);
  EXPECT_EQ(data.test.inputs.sparse.values.size(), 136821u);
  EXPECT_THAT(class_counts(data.train, 2), ElementsAre(7232, 538));
  EXPECT_THAT(class_counts(data.test, 2), ElementsAre(3120, 179));
}

TEST_F(RealFiles, PcmacsTestPartHasFewerColumnsThanItsTrainingPart) {
  DataOptions options;
  options.train = file("libsvm/PCMAC.trn.gz");
  options.test = file("libsvm/PCMAC.tst.gz");
  const Dataset data = load_dataset(options);
  EXPECT_EQ(data.train.inputs.features, 3289);
  EXPECT_EQ(data.test.inputs.features, 3289);
  EXPECT_THAT(data.class_names, ElementsAre("1", "2"));
  EXPECT_EQ(data.train.inputs.sparse.values.size(), 74786u);
  EXPECT_EQ(data.test.inputs.sparse.values.size(), 18399u);
}

TEST_F(RealFiles, DeliciousKeepsRowsWithoutLabels) {
  DataOptions options;
  options.train = file("multilabel/delicious_train.txt.gz");
  options.test = file("multilabel/delicious_test.txt.gz");
  const Dataset data = load_dataset(options);
  EXPECT_EQ(data.description, "xmc");
  EXPECT_EQ(data.train.inputs.samples, 12920);
  EXPECT_EQ(data.test.inputs.samples, 3185);
  EXPECT_EQ(data.train.inputs.features, 500);
  EXPECT_EQ(data.class_names.size(), 983u);
  EXPECT_EQ(data.train.inputs.sparse.values.size(), 239549u);
  EXPECT_EQ(data.test.inputs.sparse.values.size(), 55065u);
  const auto empty_rows = [](const LabelSets& sets) {
    std::int64_t empty = 0;
    for (std::size_t row = 0; row + 1 < sets.row_ptr.size(); ++row)
      empty += sets.row_ptr[row] == sets.row_ptr[row + 1];
    return empty;
  };
  EXPECT_EQ(empty_rows(data.train.sets), 10);
  EXPECT_EQ(empty_rows(data.test.sets), 4);
  EXPECT_NEAR(
      static_cast<double>(data.train.sets.labels.size() + data.test.sets.labels.size()) / (12920 + 3185),
      19.05, 0.05);
}

TEST_F(RealFiles, SparseArffIsRefusedWithAHint) {
  EXPECT_THAT(refusal([] { read_file("auto", file("multilabel/delicious-train.arff.gz"), {}); }),
              AllOf(HasSubstr("found ARFF"), HasSubstr("convert it")));
}

TEST_F(RealFiles, CifarRowsAreTheTarsImages) {
  const RawSplit rows = read_file("auto", file("cifar10-jpeg/test_batch.bin.gz"), {});
  EXPECT_EQ(rows.reader, "cifar");
  EXPECT_EQ(rows.inputs.samples, 1000);
  const RawSplit images = read_file("auto", file("cifar10-jpeg/cifar10-jpeg-test-5000.tar.gz"), {});
  EXPECT_EQ(images.reader, "images");
  EXPECT_EQ(images.inputs.samples, 5000);
  EXPECT_EQ(images.image.channels, 3);
  // Every row of class 0 (airplane) is one of the tar's first hundred airplanes, but for the decoder's
  // rounding.
  std::vector<std::int64_t> planes;
  for (std::int64_t i = 0; i < images.inputs.samples; ++i)
    if (images.labels.names[static_cast<std::size_t>(i)] == "airplane") planes.push_back(i);
  ASSERT_EQ(planes.size(), 500u);
  int checked = 0;
  for (std::int64_t r = 0; r < 200; ++r) {
    if (rows.labels.numbers[static_cast<std::size_t>(r)] != 0) continue;
    int best = 255;
    for (const std::int64_t i : planes) {
      int worst = 0;
      for (std::int64_t f = 0; f < 3072 && worst < best; ++f)
        worst = std::max(worst, std::abs(static_cast<int>(rows.inputs.at(r, f)) -
                                         static_cast<int>(images.inputs.at(i, f))));
      best = std::min(best, worst);
    }
    EXPECT_LE(best, 6) << "row " << r;
    ++checked;
  }
  EXPECT_GT(checked, 5);
}

TEST_F(RealFiles, SomeImagenetteJpegsAreGray) {
  const std::string tar_file = file("imagenette/imagenette224_train1600_val300.tar");
  std::int64_t gray = 0;  // repeated in all channels
  for (const bool test : {false, true}) {
    const RawSplit split = read_file("auto", tar_file, {.test_images = test});
    EXPECT_EQ(split.inputs.samples, test ? 300 : 1600);
    EXPECT_EQ(split.image.channels, 3);
    const std::size_t plane =
        static_cast<std::size_t>(split.image.height) * static_cast<std::size_t>(split.image.width);
    for (std::size_t i = 0; i < static_cast<std::size_t>(split.inputs.samples); ++i) {
      const auto first = split.inputs.bytes.begin() + static_cast<std::ptrdiff_t>(3 * i * plane);
      const auto end = first + static_cast<std::ptrdiff_t>(plane);
      gray += std::equal(first, end, end) && std::equal(first, end, end + static_cast<std::ptrdiff_t>(plane));
    }
  }
  EXPECT_GE(gray, 33);
}

TEST_F(RealFiles, MatlabFilesOfFourTypes) {
  struct Wanted {
    const char* name;
    std::int64_t samples, features;
    std::vector<std::int64_t> counts;
    float low, high;
  };
  const Wanted all[] = {{"ALLAML.mat", 72, 7129, {47, 25}, -8.33f, 8.37f},
                        {"arcene.mat", 200, 10000, {112, 88}, 0.0f, 999.0f},
                        {"nci9.mat", 60, 9712, {9, 9, 8, 5, 7, 6, 8, 6, 2}, -2.0f, 2.0f},
                        {"golub_leukemia_discretised.mat", 72, 7070, {47, 25}, -2.0f, 2.0f}};
  for (const Wanted& wanted : all) {
    DataOptions options;
    options.train = file(std::string("microarray/") + wanted.name);
    const Dataset data = load_dataset(options);
    EXPECT_EQ(data.train.inputs.samples, wanted.samples) << wanted.name;
    EXPECT_EQ(data.train.inputs.features, wanted.features) << wanted.name;
    std::vector<std::int64_t> counts = class_counts(data.train, wanted.counts.size());
    EXPECT_EQ(counts, wanted.counts) << wanted.name;
    const auto [low, high] = std::ranges::minmax(data.train.inputs.floats);
    EXPECT_NEAR(low, wanted.low, 0.01f) << wanted.name;
    EXPECT_NEAR(high, wanted.high, 0.01f) << wanted.name;
  }
}

}  // namespace
}  // namespace tulle::testing
