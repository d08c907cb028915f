#include "tulle/checkpoint/safetensors.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "tulle/base/error_testing.h"
#include "tulle/base/file_ops_testing.h"
#include "tulle/checkpoint/integrity.h"

namespace tulle {
namespace {

using testing::FailingFileOps;
using testing::kind_thrown_by;
using testing::read_text;
using testing::TemporaryDirectory;
using testing::write_text;

const std::vector<std::int64_t> kRows{0, 2, 3};
const std::vector<std::int32_t> kColumns{4, 5, 1};
const std::vector<float> kValues{0.5f, -1.0f, 2.0f};
const float kScalar = 3.0f;
const std::vector<std::uint8_t> kBytes{7, 8, 9, 10, 11};
const Metadata kMetadata{{"format", "tulle"}, {"classes", "[\"\u00e4\",\"\\\"\n\"]"}};

template <class T>
TensorView view(std::string name, DType dtype, const std::vector<T>& values) {
  return {
      std::move(name), dtype, {static_cast<std::int64_t>(values.size())}, std::as_bytes(std::span(values))};
}

std::vector<TensorView> example_tensors() {
  static const std::vector<double> none;
  return {
      view("bytes", DType::U8, kBytes),   {"scalar", DType::F32, {}, std::as_bytes(std::span(&kScalar, 1))},
      view("w.val", DType::F32, kValues), view("w.col", DType::I32, kColumns),
      view("none", DType::F64, none),     {"empty", DType::F32, {3, 0}, {}},
      view("w.crow", DType::I64, kRows)};
}

std::vector<std::byte> bytes_of(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

/// The bytes of a saved file.
std::string saved(std::vector<TensorView> tensors = example_tensors()) {
  const TemporaryDirectory directory;
  write_safetensors(directory / "file", kMetadata, std::move(tensors));
  return read_text(directory / "file");
}

SafetensorsFile parse_file(const std::string& text) { return SafetensorsFile::parse(bytes_of(text), "file"); }

/// A file as another program writes it: no padding, no checksums.
std::string foreign(const std::string& json, const std::string& data) {
  std::string text(8, '\0');
  text[0] = static_cast<char>(json.size());
  return text + json + data;
}

TEST(Safetensors, WhatWasWrittenIsReadBack) {
  const TemporaryDirectory directory;
  write_safetensors(directory / "file", kMetadata, example_tensors());
  const SafetensorsFile file = SafetensorsFile::read(directory / "file");
  EXPECT_TRUE(file.has_checksums());
  EXPECT_EQ(file.metadata(), kMetadata);
  ASSERT_EQ(file.tensors().size(), example_tensors().size());
  for (const TensorView& expected : example_tensors()) {
    const TensorView* found = file.find(expected.name);
    ASSERT_NE(found, nullptr) << expected.name;
    EXPECT_EQ(found->dtype, expected.dtype);
    EXPECT_EQ(found->shape, expected.shape);
    EXPECT_TRUE(std::ranges::equal(found->bytes, expected.bytes)) << expected.name;
  }
  EXPECT_TRUE(std::ranges::equal(file.as<std::int64_t>("w.crow"), kRows));
  EXPECT_EQ(file.as<float>("scalar")[0], kScalar);
  EXPECT_EQ(file.copy<std::int32_t>("w.col"), kColumns);
  EXPECT_EQ(file.find("other"), nullptr);
}

TEST(Safetensors, LiesLargestElementsFirstThenByNameThenTheChecksumsAlignedAndWithoutHoles) {
  const std::string text = saved();
  std::uint64_t length = 0;
  std::memcpy(&length, text.data(), 8);
  const std::uint64_t data_start = 8 + length;
  EXPECT_EQ(data_start % 64, 0u);
  std::vector<std::string> names;
  const std::string_view json = std::string_view(text).substr(8, data_start - 8);
  for (const TensorEntry& tensor : parse_header(json, text.size() - data_start, "file").tensors) {
    names.push_back(tensor.name);
    EXPECT_EQ(tensor.begin % dtype_bytes(tensor.dtype), 0u) << tensor.name;
  }
  EXPECT_EQ(names, (std::vector<std::string>{"none", "w.crow", "empty", "scalar", "w.col", "w.val", "bytes",
                                             "tulle.crc32c", "tulle.digest"}));
  const std::size_t data = 3 * 8 + 4 + 3 * 4 + 3 * 4 + 5;
  EXPECT_EQ(text.size(), data_start + data + 4 + 16);
}

TEST(Safetensors, TheChecksumsAreThoseOfTheBytesBeforeThem) {
  const std::string text = saved();
  const std::string before = text.substr(0, text.size() - 20);
  const std::span<const std::byte> covered[] = {std::as_bytes(std::span(before))};
  const std::vector<std::byte> table = crc_table(covered);
  EXPECT_EQ(bytes_of(text.substr(before.size(), 4)), table);
  const std::span<const std::byte> with_table[] = {std::as_bytes(std::span(before)), table};
  const Digest digest = xxh3_digest(with_table);
  EXPECT_TRUE(std::ranges::equal(bytes_of(text.substr(text.size() - 16)), digest));
}

TEST(Safetensors, AFileOfSeveralBlocksHasOneCrcForEachAndNamesTheDamagedOne) {
  const std::vector<std::uint8_t> large(3 * kCrcBlock - 500,
                                        1);  // the header fills the third block, or passes it
  std::string text = saved({view("large", DType::U8, large)});
  EXPECT_TRUE(parse_file(text).has_checksums());
  text[kCrcBlock + 5] ^= 1;
  try {
    parse_file(text);
    ADD_FAILURE() << "nothing thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.place().offset, static_cast<std::int64_t>(kCrcBlock));
  }
}

TEST(Safetensors, EverySizeAroundABlockIsReadBack) {
  for (std::uint64_t size = kCrcBlock - 400; size < kCrcBlock + 10; ++size) {
    const std::vector<std::uint8_t> values(size, 1);
    ASSERT_TRUE(parse_file(saved({view("v", DType::U8, values)})).has_checksums()) << size;
    size += 6;
  }
}

TEST(Safetensors, TheSameContentGivesTheSameBytesInWhateverOrder) {
  std::vector<TensorView> reversed = example_tensors();
  std::ranges::reverse(reversed);
  EXPECT_EQ(saved(reversed), saved());
}

TEST(Safetensors, NothingButMetadataIsAFileToo) {
  const SafetensorsFile file = parse_file(saved({}));
  EXPECT_TRUE(file.has_checksums());
  EXPECT_TRUE(file.tensors().empty());
}

TEST(Safetensors, WhatNoReaderWouldTakeIsNotWritten) {
  const TemporaryDirectory directory;
  const auto refused = [&](const Metadata& metadata, const std::vector<TensorView>& tensors) {
    EXPECT_THROW(write_safetensors(directory / "file", metadata, tensors), std::invalid_argument);
  };
  refused({}, {view("a", DType::U8, kBytes), view("a", DType::U8, kBytes)});
  refused({}, {view("tulle.crc32c", DType::U8, kBytes)});
  refused({}, {view("__metadata__", DType::U8, kBytes)});
  refused({}, {view("\xff", DType::U8, kBytes)});
  refused({{"key", "\xff"}}, {});
  refused({}, {{"a", DType::U8, {4}, std::as_bytes(std::span(kBytes))}});
  refused({}, {{"a", DType::U8, {-5, -1}, std::as_bytes(std::span(kBytes))}});
  refused({{"key", std::string(kMaxHeaderText, 'a')}}, {});
  EXPECT_TRUE(directory.names().empty());
}

TEST(Safetensors, FilesOfOtherProgramsLoadUncheckedAndCopyUnaligned) {
  const std::string text = foreign(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                   R"("f":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})",
                                   std::string("\x07\0\0\x80\x3f", 5));
  const SafetensorsFile file = parse_file(text);
  EXPECT_FALSE(file.has_checksums());
  EXPECT_EQ(file.copy<float>("f"), std::vector<float>{1.0f});
  EXPECT_EQ(kind_thrown_by([&] { file.as<float>("f"); }), ErrorKind::kBadData);
}

TEST(Safetensors, TypedAccessRefusesAnotherTypeOrNoTensor) {
  const SafetensorsFile file = parse_file(saved());
  EXPECT_EQ(kind_thrown_by([&] { file.as<float>("w.col"); }), ErrorKind::kBadData);
  EXPECT_EQ(kind_thrown_by([&] { file.as<std::uint32_t>("w.col"); }), ErrorKind::kBadData);
  EXPECT_EQ(kind_thrown_by([&] { file.copy<float>("other"); }), ErrorKind::kBadData);
}

TEST(Safetensors, StaysValidWhenItMoves) {
  SafetensorsFile file = parse_file(saved());
  const SafetensorsFile moved = std::move(file);
  EXPECT_TRUE(std::ranges::equal(moved.as<float>("w.val"), kValues));
}

TEST(Safetensors, EveryTruncationIsRefused) {
  const std::string text = saved();
  for (std::size_t size = 0; size < text.size(); ++size)
    ASSERT_EQ(kind_thrown_by([&] { parse_file(text.substr(0, size)); }), ErrorKind::kBadData) << size;
  EXPECT_EQ(kind_thrown_by([&] { parse_file(text + '\0'); }), ErrorKind::kBadData);
}

TEST(Safetensors, EveryFlippedBitIsFound) {
  const std::vector<std::byte> bytes = bytes_of(saved());
  std::mt19937 random(testing::test_seed());
  std::uniform_int_distribution<std::size_t> bits(0, bytes.size() * 8 - 1);
  for (int i = 0; i < 10'000; ++i) {
    const std::size_t bit = bits(random);
    std::vector<std::byte> flipped = bytes;
    flipped[bit / 8] ^= std::byte{1} << bit % 8;
    ASSERT_EQ(kind_thrown_by([&] { SafetensorsFile::parse(flipped, "file"); }), ErrorKind::kBadData)
        << "bit " << bit;
  }
}

TEST(Safetensors, HeaderLengthsThatLieAreRefused) {
  const std::string text = saved();
  for (const std::uint64_t length :
       {std::uint64_t{text.size()}, kMaxHeaderBytes + 1, ~std::uint64_t{0}, ~std::uint64_t{7}}) {
    std::string lie = text;
    std::memcpy(lie.data(), &length, 8);
    EXPECT_EQ(kind_thrown_by([&] { parse_file(lie); }), ErrorKind::kBadData) << length;
  }
  EXPECT_EQ(kind_thrown_by([] { parse_file(""); }), ErrorKind::kBadData);
}

TEST(Safetensors, AHugeFileThatIsNoneTakesNoMemory) {
  const TemporaryDirectory directory;
  write_text(directory / "file", std::string("\x02\0\0\0\0\0\0\0{}", 10));
  std::filesystem::resize_file(directory / "file", std::uintmax_t{1} << 40);  // a hole of 1 TiB
  EXPECT_EQ(kind_thrown_by([&] { SafetensorsFile::read(directory / "file"); }), ErrorKind::kBadData);
  std::uint64_t length = kMaxHeaderBytes + 1;
  write_text(directory / "file", std::string(reinterpret_cast<char*>(&length), 8));
  std::filesystem::resize_file(directory / "file", std::uintmax_t{1} << 40);
  EXPECT_EQ(kind_thrown_by([&] { SafetensorsFile::read(directory / "file"); }), ErrorKind::kBadData);
}

TEST(Safetensors, ReadingGetsByInterruptionsAndNamesErrors) {
  const TemporaryDirectory directory;
  write_safetensors(directory / "file", kMetadata, example_tensors());
  for (const int error_number : {EINTR, FailingFileOps::kShortCount, EIO}) {
    for (int call = 1;; ++call) {
      FailingFileOps files(call, error_number);
      const auto read = [&] {
        EXPECT_TRUE(SafetensorsFile::read(directory / "file", files).has_checksums());
      };
      if (error_number == EIO && call <= 5)  // all but the close at the end
        EXPECT_EQ(kind_thrown_by(read), ErrorKind::kIo) << "call " << call;
      else
        EXPECT_NO_THROW(read()) << "call " << call;
      if (!files.reached()) break;
    }
  }
}

}  // namespace
}  // namespace tulle
