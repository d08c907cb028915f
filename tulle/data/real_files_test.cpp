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
std::uint32_t crc(const std::vector<std::uint8_t>& bytes) {
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
  const std::vector<float>& values = data.train.inputs.floats;
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
    const std::vector<float>& values = data.train.inputs.floats;
    EXPECT_EQ(std::accumulate(values.begin(), values.end(), 0.0), sum) << part;  // madelon.param
  }
}

}  // namespace
}  // namespace tulle::testing
