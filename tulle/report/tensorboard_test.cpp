#include "tulle/report/tensorboard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <numeric>

#include "tulle/base/error.h"
#include "tulle/base/file_ops_testing.h"
#include "tulle/checkpoint/model_testing.h"

// A reader of its own: records by the description of TFRecord, CRCs bit by bit, messages field by field.

namespace tulle {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;
using ::testing::StartsWith;

std::uint32_t crc_bit_by_bit(std::string_view bytes) {
  std::uint32_t crc = 0xffffffffu;
  for (const char c : bytes) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) * 0x82f63b78u);
  }
  return ~crc;
}

template <class T>
T read(std::string_view& bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  bytes.remove_prefix(sizeof value);
  return value;
}

std::uint32_t unmasked(std::uint32_t crc) {
  const std::uint32_t rotated = crc - 0xa282ead8u;
  return (rotated >> 17) | (rotated << 15);
}

// The payloads of a file, up to a torn record.
std::vector<std::string> records_of(const std::string& file) {
  std::vector<std::string> records;
  for (std::string_view rest = file; rest.size() >= 12;) {
    const std::string_view length_bytes = rest.substr(0, 8);
    const auto length = read<std::uint64_t>(rest);
    EXPECT_EQ(unmasked(read<std::uint32_t>(rest)), crc_bit_by_bit(length_bytes));
    if (rest.size() < length + 4) break;
    records.emplace_back(rest.substr(0, length));
    rest.remove_prefix(length);
    EXPECT_EQ(unmasked(read<std::uint32_t>(rest)), crc_bit_by_bit(records.back()));
  }
  return records;
}

struct Field {
  std::uint64_t number = 0;
  std::string text;
  double real() const {
    std::string_view bytes = text;
    return text.size() == 4 ? read<float>(bytes) : read<double>(bytes);
  }
};
using Message = std::multimap<int, Field>;

std::uint64_t varint(std::string_view& bytes) {
  std::uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = read<std::uint8_t>(bytes);
    value |= std::uint64_t{byte & 0x7fu} << shift;
    if (byte < 0x80) return value;
  }
}

Message parse(std::string_view bytes) {
  Message fields;
  while (!bytes.empty()) {
    const std::uint64_t tag = varint(bytes);
    Field field;
    if (tag % 8 == 0) {
      field.number = varint(bytes);
    } else {
      const std::size_t size = tag % 8 == 1 ? 8 : tag % 8 == 5 ? 4 : varint(bytes);
      field.text = bytes.substr(0, size);
      bytes.remove_prefix(size);
    }
    fields.emplace(static_cast<int>(tag / 8), field);
  }
  return fields;
}

const Field& field(const Message& message, int number) {
  EXPECT_EQ(message.count(number), 1u) << number;
  return message.find(number)->second;
}

std::vector<double> doubles(const std::string& bytes) {
  std::vector<double> values(bytes.size() / 8);
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

// Tag -> Summary.Value of one event.
std::map<std::string, Message> values_of(const std::string& event) {
  std::map<std::string, Message> values;
  const Message summary = parse(field(parse(event), 5).text);
  for (const auto& [number, value] : summary) {
    EXPECT_EQ(number, 1);
    const Message message = parse(value.text);
    EXPECT_TRUE(values.emplace(field(message, 1).text, message).second);
  }
  return values;
}

class TensorBoard : public ::testing::Test {
 protected:
  std::vector<std::string> records(const std::string& path) { return records_of(testing::read_text(path)); }
  std::string tb() const { return folder_ / "tb"; }
  testing::TemporaryDirectory folder_;
};

TEST_F(TensorBoard, AFileBeginsWithItsVersionAndTheStepItTakesOverFrom) {
  const EventFile file(tb(), 471);
  EXPECT_THAT(file.path(), StartsWith(tb() + "/events.out.tfevents."));
  const std::vector<std::string> events = records(file.path());
  ASSERT_THAT(events, SizeIs(2));
  EXPECT_EQ(field(parse(events[0]), 3).text, "brain.Event:2");
  EXPECT_EQ(field(parse(events[1]), 2).number, 471u);
  EXPECT_EQ(field(parse(field(parse(events[1]), 7).text), 1).number, 1u);
  EXPECT_GT(field(parse(events[1]), 1).real(), 1.7e9);  // seconds since 1970
}

TEST_F(TensorBoard, AnEventHoldsWhatWasAddedSinceTheLast) {
  EventFile file(tb(), 1);
  file.add("train/loss", 0.25);
  file.add("lr", 0.5);
  file.write(469);
  file.add("train/loss", 0.125);
  file.write(938);
  const std::vector<std::string> events = records(file.path());
  ASSERT_THAT(events, SizeIs(4));
  EXPECT_EQ(field(parse(events[2]), 2).number, 469u);
  EXPECT_EQ(field(values_of(events[2])["train/loss"], 2).real(), 0.25);
  EXPECT_EQ(field(values_of(events[2])["lr"], 2).real(), 0.5);
  EXPECT_EQ(field(parse(events[3]), 2).number, 938u);
  EXPECT_THAT(values_of(events[3]), SizeIs(1));
}

TEST_F(TensorBoard, AHistogramCountsEveryFiniteValueOnce) {
  EventFile file(tb(), 1);
  std::vector<float> values{-2.0f, 6.0f, 0.0f, 0.0f, std::nanf(""), std::numeric_limits<float>::infinity()};
  file.add("some", values);
  file.add("equal", std::vector<float>{3.0f, 3.0f});
  file.add("none", std::span<const float>());
  file.write(1);
  auto all = values_of(records(file.path())[2]);
  const Message some = parse(field(all["some"], 5).text);
  EXPECT_EQ(field(some, 1).real(), -2.0);
  EXPECT_EQ(field(some, 2).real(), 6.0);
  EXPECT_EQ(field(some, 3).real(), 4.0);
  EXPECT_EQ(field(some, 4).real(), 4.0);
  EXPECT_EQ(field(some, 5).real(), 40.0);
  const std::vector<double> limits = doubles(field(some, 6).text), buckets = doubles(field(some, 7).text);
  ASSERT_THAT(limits, SizeIs(EventFile::kBuckets));
  ASSERT_THAT(buckets, SizeIs(EventFile::kBuckets));
  EXPECT_EQ(limits[0], -2.0 + 8.0 / 64);
  EXPECT_EQ(limits.back(), 6.0);
  EXPECT_EQ(buckets[0], 1.0);
  EXPECT_EQ(buckets[16], 2.0);  // 0 is a quarter of the way
  EXPECT_EQ(buckets[63], 1.0);
  EXPECT_EQ(std::accumulate(buckets.begin(), buckets.end(), 0.0), 4.0);

  const Message equal = parse(field(all["equal"], 5).text);
  EXPECT_THAT(doubles(field(equal, 6).text), ElementsAre(3.0));
  EXPECT_THAT(doubles(field(equal, 7).text), ElementsAre(2.0));
  EXPECT_EQ(field(parse(field(all["none"], 5).text), 3).real(), 0.0);
}

TEST_F(TensorBoard, ATornRecordCostsNoOther) {
  std::string path;
  {
    EventFile file(tb(), 1);
    path = file.path();
    for (int step = 1; step <= 3; ++step) {
      file.add("x", step);
      file.write(step);
    }
  }
  const std::string whole = testing::read_text(path);
  EXPECT_THAT(records_of(whole), SizeIs(5));
  EXPECT_THAT(records_of(whole.substr(0, whole.size() - 1)), SizeIs(4));
}

TEST_F(TensorBoard, FilesOfOneSecondAreDifferentOnes) {
  const EventFile one(tb(), 1), two(tb(), 1), three(tb(), 1);
  EXPECT_NE(one.path(), two.path());
  EXPECT_NE(two.path(), three.path());
}

TEST_F(TensorBoard, AFolderThatCannotBeIsRefused) {
  try {
    const EventFile file(folder_ / "missing/tb", 1);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kCannotWrite);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("missing/tb"));
  }
}

TEST_F(TensorBoard, WhatCannotBeWrittenIsSaid) {
  int refused = 0;
  for (int call = 0; call < 8; ++call) {
    testing::FailingFileOps files(call, ENOSPC);
    try {
      EventFile file(folder_ / std::to_string(call), 1, files);
      file.add("x", 1.0);
      file.write(1);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kCannotWrite);
      ++refused;
    }
  }
  EXPECT_EQ(refused, 5);  // the folder, the file, two records of its head, the event
  for (int call = 0; call < 8; ++call) {
    testing::FailingFileOps files(call, testing::FailingFileOps::kShortCount);
    EventFile file(tb(), 1, files);
    EXPECT_THAT(records(file.path()), SizeIs(2));
  }
}

TEST_F(TensorBoard, AnEpochTellsItsScalarsAndItsNetwork) {
  const Model model = testing::small_model();  // 5 connections from 3 to 4 neurons, then dense
  EpochRecord record;
  record.epoch = 2;
  record.step = 938;
  record.train_loss = 0.5;
  record.test_accuracy = 0.75;
  record.layer_density = {0.5, 1.0};
  CellSet explored(12);
  explored.insert(std::vector<std::uint64_t>{0, 5, 11});
  TensorBoardLog log(tb(), 469);
  log.write(record, std::vector<CellSet>{explored, CellSet(0)}, nullptr);
  log.write(record, {}, &model.network);
  const std::string path = tb() + "/" + std::filesystem::directory_iterator(tb())->path().filename().string();
  const std::vector<std::string> events = records(path);
  EXPECT_EQ(field(parse(events[1]), 2).number, 470u);

  auto scalars = values_of(events[2]);
  std::vector<std::string> tags;
  for (const auto& [tag, value] : scalars) tags.push_back(tag);
  EXPECT_THAT(tags, ElementsAre("layer0/density", "layer0/explored", "layer1/density", "lr",
                                "memory/peak_rss", "sparsity/density", "sparsity/nnz", "speed/conn_per_s",
                                "test/accuracy", "train/loss"));
  EXPECT_EQ(field(scalars["test/accuracy"], 2).real(), 0.75);
  EXPECT_EQ(field(scalars["layer0/explored"], 2).real(), 0.25);

  auto all = values_of(events[3]);
  for (const char* tag : {"layer0/weights", "layer0/in_degree", "layer0/out_degree", "layer1/weights"})
    EXPECT_EQ(all.count(tag), 1u) << tag;
  EXPECT_EQ(all.count("layer1/in_degree"), 0u);
  const Message weights = parse(field(all["layer0/weights"], 5).text);
  const Message in = parse(field(all["layer0/in_degree"], 5).text);
  const Message out = parse(field(all["layer0/out_degree"], 5).text);
  EXPECT_EQ(field(weights, 3).real(), 5.0);  // connections
  EXPECT_EQ(field(in, 3).real(), 4.0);       // neurons
  EXPECT_EQ(field(in, 5).real(), 2 * 2 + 1 * 1 + 2 * 2);
  EXPECT_EQ(field(out, 3).real(), 3.0);
  EXPECT_EQ(field(out, 5).real(), 2 * 2 + 2 * 2 + 1 * 1);
}

}  // namespace
}  // namespace tulle
