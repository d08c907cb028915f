#include "tulle/report/tensorboard.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "tulle/base/error.h"
#include "tulle/checkpoint/integrity.h"
#include "tulle/nn/bf16_weights.h"

namespace tulle {
namespace {

// Field numbers of tensorflow/core/util/event.proto and tensorflow/core/framework/summary.proto.
constexpr int kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7;  // Event
constexpr int kValue = 1;                                                                 // Summary
constexpr int kTag = 1, kSimpleValue = 2, kHistogram = 5;                                 // Summary.Value
constexpr int kMin = 1, kMax = 2, kCount = 3, kSum = 4, kSumSquares = 5, kLimits = 6, kBucket = 7;
constexpr int kStatus = 1, kStart = 1;  // SessionLog, and its value START

double wall_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string host_name() {
  char name[256] = "host";
  gethostname(name, sizeof name - 1);
  std::string host = name;
  std::ranges::replace(host, '/', '-');
  return host;
}

// TFRecord keeps CRCs rotated and shifted: a CRC of data that hold CRCs would be weak.
std::string masked_crc(std::string_view bytes) {
  const std::uint32_t crc = crc32c(std::as_bytes(std::span(bytes)));
  const std::uint32_t masked = ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
  std::string out(sizeof masked, '\0');
  std::memcpy(out.data(), &masked, sizeof masked);
  return out;
}

void begin_event(WireWriter& event, std::int64_t step) {
  event.real(kWallTime, wall_time());
  event.number(kStep, step);
}

struct Distribution {
  double least = std::numeric_limits<double>::infinity(), most = -least;
  double count = 0.0, sum = 0.0, squares = 0.0;
  std::vector<double> limits, buckets;
};

Distribution distribution_of(std::span<const float> values) {
  Distribution d;
  for (const float value : values) {
    if (!std::isfinite(value)) continue;
    d.least = std::min(d.least, double{value});
    d.most = std::max(d.most, double{value});
    d.count += 1.0;
    d.sum += value;
    d.squares += double{value} * value;
  }
  if (d.count == 0.0) return {.least = 0.0, .most = 0.0};
  const std::size_t buckets = d.least < d.most ? EventFile::kBuckets : 1;
  const double width = (d.most - d.least) / static_cast<double>(buckets);
  for (std::size_t b = 1; b <= buckets; ++b) d.limits.push_back(d.least + static_cast<double>(b) * width);
  d.limits.back() = d.most;
  d.buckets.assign(buckets, 0.0);
  for (const float value : values) {
    if (!std::isfinite(value)) continue;
    const double place = width > 0.0 ? (value - d.least) / width : 0.0;
    d.buckets[std::min(static_cast<std::size_t>(place), buckets - 1)] += 1.0;
  }
  return d;
}

std::vector<float> in_degrees(const Topology& topology) {
  std::vector<float> degrees;
  for (std::int32_t r = 0; r < topology.rows(); ++r)
    degrees.push_back(static_cast<float>(topology.row(r).size()));
  return degrees;
}

std::vector<float> out_degrees(const Topology& topology) {
  std::vector<std::int32_t> counts(static_cast<std::size_t>(topology.cols()), 0);
  for (const std::int32_t column : topology.columns()) ++counts[static_cast<std::size_t>(column)];
  return {counts.begin(), counts.end()};
}

}  // namespace

EventFile::EventFile(const std::string& folder, std::int64_t first_step, FileOps& files)
    : files_(files), file_(files, -1) {
  open(folder);
  WireWriter version;
  version.real(kWallTime, wall_time());
  version.text(kFileVersion, "brain.Event:2");
  append(version);
  WireWriter start;
  begin_event(start, first_step);
  start.message(kSessionLog, [](WireWriter& log) { log.number(kStatus, kStart); });
  append(start);
}

void EventFile::open(const std::string& folder) {
  if (files_.mkdir(folder.c_str()) != 0 && errno != EEXIST) throw write_error(errno, folder, "create");
  // No file of the folder is written to again: a second training of the same second and process gets a
  // number.
  for (int attempt = 0; !file_; ++attempt) {
    path_ = fmt::format("{}/events.out.tfevents.{}.{}.{}{}", folder, static_cast<std::int64_t>(wall_time()),
                        host_name(), getpid(), attempt > 0 ? fmt::format(".{}", attempt) : "");
    file_ = open_file(files_, AT_FDCWD, path_, O_WRONLY | O_CREAT | O_EXCL | O_APPEND, 0666);
    if (!file_ && errno != EEXIST) throw write_error(errno, path_, "create");
  }
}

void EventFile::append(WireWriter& event) {
  const std::string payload = event.take();
  const std::uint64_t bytes = payload.size();
  std::string length(sizeof bytes, '\0');
  std::memcpy(length.data(), &bytes, sizeof bytes);
  const std::string record = length + masked_crc(length) + payload + masked_crc(payload);
  for (std::size_t done = 0; done < record.size();) {
    const ssize_t written =
        uninterrupted([&] { return files_.write(file_.get(), record.data() + done, record.size() - done); });
    if (written < 0) throw write_error(errno, path_, "write");
    done += static_cast<std::size_t>(written);
  }
}

void EventFile::add(std::string_view tag, double value) {
  summary_.message(kValue, [&](WireWriter& message) {
    message.text(kTag, tag);
    message.real(kSimpleValue, static_cast<float>(value));
  });
}

void EventFile::add(std::string_view tag, std::span<const float> values) {
  const Distribution d = distribution_of(values);
  summary_.message(kValue, [&](WireWriter& message) {
    message.text(kTag, tag);
    message.message(kHistogram, [&](WireWriter& histogram) {
      histogram.real(kMin, d.least);
      histogram.real(kMax, d.most);
      histogram.real(kCount, d.count);
      histogram.real(kSum, d.sum);
      histogram.real(kSumSquares, d.squares);
      histogram.packed(kLimits, d.limits);
      histogram.packed(kBucket, d.buckets);
    });
  });
}

void EventFile::write(std::int64_t step) {
  WireWriter event;
  begin_event(event, step);
  event.text(kSummary, summary_.take());
  append(event);
}

// What is at `step` already, older files have.
TensorBoardLog::TensorBoardLog(const std::string& folder, std::int64_t step) : events_(folder, step + 1) {}

void TensorBoardLog::write(const EpochRecord& record, std::span<const CellSet> explored,
                           const Network* histograms) {
  const auto add = [&](std::string_view tag, std::optional<double> value) {
    if (value) events_.add(tag, *value);
  };
  add("train/loss", record.train_loss);
  add("train/accuracy", record.train_accuracy);
  add("test/loss", record.test_loss);
  add("test/accuracy", record.test_accuracy);
  add("valid/loss", record.valid_loss);
  add("valid/accuracy", record.valid_accuracy);
  add("raw/test_loss", record.raw_test_loss);
  add("raw/test_accuracy", record.raw_test_accuracy);
  add("raw/valid_loss", record.raw_valid_loss);
  add("raw/valid_accuracy", record.raw_valid_accuracy);
  add("lr", record.learning_rate);
  add("sparsity/nnz", static_cast<double>(record.nnz));
  add("sparsity/density", record.density);
  add("sparsity/exploration", record.exploration);
  add("speed/conn_per_s", record.connections_per_second);
  add("memory/peak_rss", static_cast<double>(record.peak_rss));
  for (std::size_t l = 0; l < record.layer_density.size(); ++l)
    add(fmt::format("layer{}/density", l), record.layer_density[l]);
  for (std::size_t l = 0; l < explored.size(); ++l)
    if (explored[l].cells() > 0)
      add(fmt::format("layer{}/explored", l), explored[l].count() / static_cast<double>(explored[l].cells()));
  for (std::size_t l = 0; histograms != nullptr && l < histograms->size(); ++l) {
    const Layer& layer = histograms->layer(l);
    events_.add(fmt::format("layer{}/weights", l), std::span<const float>(values_of(layer.weight())));
    if (layer.topology() == nullptr) continue;
    events_.add(fmt::format("layer{}/in_degree", l), in_degrees(*layer.topology()));
    events_.add(fmt::format("layer{}/out_degree", l), out_degrees(*layer.topology()));
  }
  events_.write(record.step);
}

}  // namespace tulle
