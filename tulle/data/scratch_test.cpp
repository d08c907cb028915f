// Data whose samples lie in files (data.scratch) beside the same in memory.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "tulle/base/file_ops_testing.h"
#include "tulle/base/spill.h"
#include "tulle/data/data_testing.h"
#include "tulle/data/formats_testing.h"
#include "tulle/data/load.h"
#include "tulle/data/loader.h"

namespace tulle::testing {
namespace {

using ::testing::HasSubstr;

constexpr int kSamples = 3000, kWidth = 30;  // what takes 64 KiB and more in every form

// The value of feature f of a sample: differs everywhere, exact in all formats.
int value_of(int sample, int f) { return (sample * 31 + f * 7) % 251; }

std::string csv() {
  std::string text;
  for (int s = 0; s < kSamples; ++s) {
    for (int f = 0; f < kWidth; ++f) text += fmt::format("{},", value_of(s, f));
    text += fmt::format("{}\n", s % 3);
  }
  return text;
}

std::string libsvm() {
  std::string text;
  for (int s = 0; s < kSamples; ++s) {
    text += fmt::format("{}", s % 3);
    for (int f = s % 3; f < kWidth; f += 1 + s % 2) text += fmt::format(" {}:{}", f + 1, value_of(s, f) + 1);
    text += '\n';
  }
  return text;
}

std::string pixels() {
  std::string bytes;
  for (int s = 0; s < kSamples; ++s)
    for (int f = 0; f < kWidth; ++f) bytes += static_cast<char>(value_of(s, f));
  return bytes;
}

std::string labels() {
  std::string bytes;
  for (int s = 0; s < kSamples; ++s) bytes += static_cast<char>(s % 3);
  return bytes;
}

std::string npz() {
  return zip({{"X.npy", npy("|u1", fmt::format("({}, {})", kSamples, kWidth), pixels())},
              {"y.npy", npy("|u1", fmt::format("({},)", kSamples), labels())}});
}

// One connected CSR matrix, as SciPy writes it.
std::string sparse_npz() {
  std::vector<std::int32_t> indptr{0}, indices;
  std::vector<float> data;
  for (int s = 0; s < kSamples; ++s) {
    for (int f = s % 3; f < kWidth; f += 2) {
      indices.push_back(f);
      data.push_back(static_cast<float>(value_of(s, f) + 1));
    }
    indptr.push_back(static_cast<std::int32_t>(indices.size()));
  }
  const std::string entries = fmt::format("({},)", indices.size());
  return zip({{"indptr.npy", npy("<i4", fmt::format("({},)", kSamples + 1), raw(indptr))},
              {"indices.npy", npy("<i4", entries, raw(indices))},
              {"data.npy", npy("<f4", entries, raw(data))},
              {"shape.npy", npy("<i8", "(2,)", raw(std::vector<std::int64_t>{kSamples, kWidth}))},
              {"y.npy", npy("|u1", fmt::format("({},)", kSamples), labels())}});
}

std::string mat() {
  std::string columns;  // first index fastest
  for (int f = 0; f < kWidth; ++f)
    for (int s = 0; s < kSamples; ++s) columns += static_cast<char>(value_of(s, f));
  const std::string inputs = deflated(mat_array("X", kSamples, kWidth, 2, columns));
  return testing::mat(little_endian(15, 4) + little_endian(inputs.size(), 4) + inputs +
                      mat_array("Y", kSamples, 1, 2, labels()));
}

// Gray ones first, and more than are decoded at a time.
std::string images() {
  std::vector<std::pair<std::string, std::string>> members;
  for (int s = 0; s < kSamples / 2; ++s) {
    const int channels = s < 1100 ? 1 : 3;
    std::string image;
    for (int p = 0; p < 25 * channels; ++p) image += static_cast<char>(value_of(s, p));
    members.emplace_back(fmt::format("{}/{}.png", s % 3, s), png(5, 5, channels, image));
  }
  return tar(members);
}

struct Format {
  std::string name;
  std::string (*content)();
};

class ScratchFolder : public ::testing::Test {
 protected:
  DataOptions options(const std::string& file) const {
    DataOptions options;
    options.train = folder_ / file;
    options.valid_fraction = 0.25;
    return options;
  }
  DataOptions in_files(DataOptions options) const {
    options.scratch = folder_ / "scratch";
    return options;
  }

  TemporaryDirectory folder_;
};

class Scratch : public ScratchFolder, public ::testing::WithParamInterface<Format> {};

void expect_equal(const Split& files, const Split& memory) {
  ASSERT_EQ(files.inputs.samples, memory.inputs.samples);
  EXPECT_EQ(files.inputs.features, memory.inputs.features);
  EXPECT_TRUE(files.inputs.bytes == memory.inputs.bytes);
  EXPECT_TRUE(files.inputs.floats == memory.inputs.floats);
  EXPECT_EQ(files.inputs.sparse.row_ptr, memory.inputs.sparse.row_ptr);
  EXPECT_TRUE(files.inputs.sparse.columns == memory.inputs.sparse.columns);
  EXPECT_TRUE(files.inputs.sparse.values == memory.inputs.sparse.values);
  EXPECT_EQ(files.classes, memory.classes);
}

bool lie_in_files(const Features& inputs) {
  bool all = true;
  for (const std::span<const std::byte> array : inputs.arrays())
    all = all && (array.empty() || is_spilled(array.data()));
  return all;
}

TEST_P(Scratch, TakesTheSamplesAndGivesTheSameOnes) {
  write_text(folder_ / "data", GetParam().content());
  const DataOptions wanted = options("data");
  const Dataset memory = load_dataset(wanted), files = load_dataset(in_files(wanted));
  EXPECT_FALSE(lie_in_files(memory.train.inputs));
  EXPECT_TRUE(lie_in_files(files.train.inputs));
  EXPECT_GT(files.valid.inputs.samples, 0);
  expect_equal(files.train, memory.train);
  expect_equal(files.valid, memory.valid);
  EXPECT_EQ(files.scaling.mean, memory.scaling.mean);
  EXPECT_EQ(files.scaling.deviation, memory.scaling.deviation);
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "scratch"));
}

TEST_P(Scratch, GivesTheSameBatches) {
  write_text(folder_ / "data", GetParam().content());
  const DataOptions wanted = options("data");
  const Dataset memory = load_dataset(wanted), files = load_dataset(in_files(wanted));
  Loader one(memory.train, memory.scaling, 100, true, 1), other(files.train, files.scaling, 100, true, 1);
  for (int epoch = 0; epoch < 2; ++epoch) {
    one.start_epoch(epoch, /*shuffled=*/true);
    other.start_epoch(epoch, /*shuffled=*/true);
    for (std::int64_t b = 0; b < one.batches(); ++b) {
      const Panels<const float> x = one.get(b, 32).inputs, y = other.get(b, 32).inputs;
      ASSERT_TRUE(std::equal(x.data, x.data + x.count() * x.panel_size(), y.data));
      if (!memory.train.inputs.is_sparse()) continue;
      const SparseBatch &p = *one.get_sparse(b, 32).sparse, &q = *other.get_sparse(b, 32).sparse;
      ASSERT_EQ(p.places, q.places);
      ASSERT_EQ(p.values, q.values);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Data, Scratch,
                         ::testing::Values(Format{"csv", csv}, Format{"libsvm", libsvm}, Format{"npz", npz},
                                           Format{"sparse_npz", sparse_npz}, Format{"mat", mat},
                                           Format{"images", images}),
                         [](const auto& format) { return format.param.name; });

TEST_F(ScratchFolder, TakesUnpackedFilesAndInputsOfAModel) {
  write_text(folder_ / "data.csv.gz", packed(csv()));
  const DataOptions wanted = in_files(options("data.csv.gz"));
  const Dataset data = load_dataset(wanted);
  EXPECT_TRUE(lie_in_files(data.train.inputs));
  const DataFacts model{.class_names = data.class_names, .features = kWidth};
  EXPECT_TRUE(lie_in_files(load_labelled_split(wanted, model).inputs));
  EXPECT_TRUE(lie_in_files(load_inputs(wanted, model)));
}

TEST_F(ScratchFolder, ThatCannotBeUsedIsNamed) {
  write_text(folder_ / "data", csv());
  DataOptions wanted = options("data");
  wanted.scratch = folder_ / "no/such";
  EXPECT_THAT(refusal([&] { load_dataset(wanted); }, ErrorKind::kCannotWrite), HasSubstr("no/such"));
}

TEST_F(ScratchFolder, IsWhatAFileTooLargeForMemoryNeeds) {
  write_text(folder_ / "large", "");
  std::filesystem::resize_file(folder_ / "large", std::uintmax_t{9} << 30);  // takes no room
  EXPECT_THAT(refusal([&] { load_dataset(options("large")); }),
              HasSubstr("expected at most 8589934592 bytes; data.scratch lets files be larger"));
}

}  // namespace
}  // namespace tulle::testing
