#include "tulle/data/readers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "tulle/base/file_ops_testing.h"
#include "tulle/data/data_testing.h"
#include "tulle/data/formats_testing.h"

namespace tulle::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// A good file for each reader of the table.
const std::map<std::string_view, std::string> kSamples{
    {"idx", idx_head(0x08, {2, 2, 2}) + "abcdefgh"},
    {"npy", npy("<f4", "(2, 3)", raw<float>({1, 2, 3, 4, 5, 6}))},
    {"npz", zip({{"X.npy", npy("<f8", "(2, 2)", raw<double>({1, 2, 3, 4}))},
                 {"y.npy", npy("<i8", "(2,)", raw<std::int64_t>({7, -1}))}})},
    {"mat", mat(mat_array("X", 2, 2, 9, raw<double>({1, 3, 2, 4})) + mat_array("Y", 2, 1, 1, "\x01\xff"))},
    {"images", tar({{"train/cat/1.png", png(2, 1, 1, "ab")}, {"train/dog/1.png", png(2, 1, 3, "uvwxyz")}})},
    {"cifar", '\x03' + std::string(3072, 'a') + '\x09' + std::string(3072, 'b')},
    {"xmc", "2 5 4\n0,3 1:0.5 4:1\n 2:1e-3\n"},
    {"libsvm", "+1 1:0.5 4:-1e2\n-1 2:3 \n"},
    {"csv", "x,\"y\",label\n1.5,2,red\n-3e2,4,\"blue\"\n"},
};

class EveryReader : public ::testing::TestWithParam<ReaderInfo> {
 protected:
  std::string format() const { return std::string(GetParam().name); }
  const std::string& sample() const { return kSamples.at(GetParam().name); }
  RawSplit read(const std::string& text) const { return GetParam().read(bytes_of(text), "f", {}); }
};

TEST_P(EveryReader, ReadsItsSamplePlainAndPackedAndIsFoundByAuto) {
  const TemporaryDirectory folder;
  write_text(folder / "plain", sample());
  write_text(folder / "packed", packed(sample()));
  for (const std::string& reader : {format(), std::string("auto")})
    for (const std::string file : {"plain", "packed"}) {
      const RawSplit split = read_file(reader, folder / file, {});
      EXPECT_EQ(split.inputs.samples, 2);
      EXPECT_EQ(split.reader, format());
    }
}

TEST_P(EveryReader, RefusesEveryTruncationOfAPackedFileWithItsName) {
  const TemporaryDirectory folder;
  const std::string whole = packed(sample()), file = folder / "packed.gz";
  for (std::size_t size = 0; size < whole.size(); ++size) {
    write_text(file, whole.substr(0, size));
    EXPECT_THAT(refusal([&] { read_file(format(), file, {}); }), StartsWith(file)) << size << " bytes";
  }
}

TEST_P(EveryReader, RefusesATruncatedPlainFileWithItsNameOrReadsItsWholeSamples) {
  for (std::size_t size = 0; size < sample().size(); ++size) {
    try {
      EXPECT_NE(format(), "idx") << "an IDX file knows its size; "
                                 << read(sample().substr(0, size)).inputs.samples;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadData);
      EXPECT_EQ(error.place().file, "f");
    }
  }
}

TEST_P(EveryReader, ReadsOrRefusesDamagedFilesAndDoesNothingElse) {
  const std::size_t step = sample().size() > 4000 ? 13 : 1;
  for (std::size_t bit = 0; bit < sample().size() * 8; bit += step) {
    std::string damaged = sample();
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ 1 << bit % 8);
    try {
      const RawSplit split = read(damaged);
      const Features& inputs = split.inputs;
      if (inputs.is_sparse()) {
        EXPECT_EQ(inputs.sparse.row_ptr.size(), static_cast<std::size_t>(inputs.samples) + 1)
            << "bit " << bit;
        EXPECT_EQ(inputs.sparse.row_ptr.back(), static_cast<std::int64_t>(inputs.sparse.columns.size()));
        EXPECT_THAT(inputs.sparse.columns, ::testing::Each(::testing::Lt(std::max(inputs.features, 1))));
        continue;
      }
      const auto values = static_cast<std::size_t>(inputs.samples * inputs.features);
      EXPECT_EQ(std::max(inputs.bytes.size(), inputs.floats.size()), values) << "bit " << bit;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadData) << "bit " << bit;
      EXPECT_EQ(error.place().file, "f") << "bit " << bit;
    }
  }
}

std::vector<ReaderInfo> true_readers() {
  std::vector<ReaderInfo> found;
  for (const ReaderInfo& reader : readers())
    if (reader.read != nullptr) found.push_back(reader);
  return found;
}

INSTANTIATE_TEST_SUITE_P(Readers, EveryReader, ::testing::ValuesIn(true_readers()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(ReadFile, AutoGoesByTheNameWhereTheContentIsOfNoKnownKind) {
  const TemporaryDirectory folder;
  const std::string binary("\x01\x02\x03\x04", 4);
  for (const std::string name : {"train-ubyte", "x.idx", "x.idx.gz"}) {
    write_text(folder / name, binary);
    EXPECT_THAT(refusal([&] { read_file("auto", folder / name, {}); }), HasSubstr("IDX magic number"));
  }
  write_text(folder / "x.csv", binary);
  EXPECT_THAT(refusal([&] { read_file("auto", folder / "x.csv", {}); }), HasSubstr("found the byte 0x01"));
  write_text(folder / "x.what", binary);
  EXPECT_THAT(refusal([&] { read_file("auto", folder / "x.what", {}); }), HasSubstr("data.format names one"));
}

TEST(ReadFile, ANameThatSaysLibsvmIsBelievedOfAnyText) {
  const TemporaryDirectory folder;
  for (const std::string text : {"# my data\n1 1:1\n", "1\n2 2:1\n", "\n# a\r\n# b\n1 1:1\n"})
    for (const std::string name : {"x.libsvm", "x.svm"}) {
      write_text(folder / name, text);
      EXPECT_EQ(read_file("auto", folder / name, {}).reader, "libsvm") << text;
    }
  write_text(folder / "x", "# my data\n1 1:1\n");
  EXPECT_EQ(read_file("auto", folder / "x", {}).reader, "libsvm");
  write_text(folder / "x", "# a,b\n1,1\n");
  EXPECT_EQ(read_file("auto", folder / "x", {.header = "skip"}).reader, "csv");
}

TEST(ReadFile, ATextIsNoCifarWhateverItsSize) {
  const TemporaryDirectory folder;
  std::string text;
  for (int i = 0; i < 767; ++i) text += "1,0\n";
  text += "1.5,0\n";  // 3074 bytes, the second one is a comma
  write_text(folder / "x", text);
  EXPECT_EQ(read_file("auto", folder / "x", {}).reader, "csv");
}

TEST(ReadFile, AnUnknownFormatIsAConfigErrorWithAHint) {
  const TemporaryDirectory folder;
  write_text(folder / "x", "1,2\n");
  EXPECT_THAT(refusal([&] { read_file("cvs", folder / "x", {}); }, ErrorKind::kConfig), HasSubstr("csv"));
}

TEST(ReadLabels, TakesFilesOfLabelsAloneInEitherFormat) {
  const TemporaryDirectory folder;
  write_text(folder / "idx", idx_head(0x08, {2}) + "\x01\x02");
  write_text(folder / "csv", "-1\n1\n");
  write_text(folder / "images", idx_head(0x08, {1, 2}) + "ab");
  EXPECT_THAT(read_labels("auto", folder / "idx", {}).numbers, ElementsAre(1, 2));
  EXPECT_THAT(read_labels("auto", folder / "csv", {.label_column = "none"}).numbers, ElementsAre(-1, 1));
  write_text(folder / "column.npy", npy("<f8", "(2, 1)", raw<double>({16777217, 1})));
  EXPECT_THAT(read_labels("auto", folder / "column.npy", {}).numbers, ElementsAre(16777217, 1));
  EXPECT_THAT(refusal([&] { read_labels("auto", folder / "images", {}); }),
              HasSubstr("label file, found 2 features"));
}

TEST(FashionMnist, ItsFolderCanBeNamedAndWhatIsMissingNamesThePackage) {
  const TemporaryDirectory folder;
  setenv("TULLE_FASHION_MNIST", folder.path().c_str(), 1);
  const auto message = [] { return refusal([] { find_fashion_mnist(); }, ErrorKind::kMissingInput); };
  EXPECT_THAT(message(), HasSubstr("dataset-fashion-mnist"));
  const std::vector<std::string> names{"train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
                                       "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"};
  for (const std::string& name : names) {
    EXPECT_THAT(message(), StartsWith(folder / name));
    write_text(folder / name, "");
  }
  EXPECT_EQ(find_fashion_mnist().test_labels, folder / names[3]);
  unsetenv("TULLE_FASHION_MNIST");
}

}  // namespace
}  // namespace tulle::testing
