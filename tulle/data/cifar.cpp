#include <fmt/format.h>

#include <algorithm>

#include "tulle/base/error.h"
#include "tulle/data/readers.h"

namespace tulle {

ReadBytes read_cifar;
FitsBytes is_cifar, is_text;

namespace {

// CIFAR binary: 32 x 32 pixels of each of 3 planes after one label byte (CIFAR-10), or after a coarse and a
// fine label (CIFAR-100, whose fine label counts).
constexpr std::size_t kPixels = 3 * 32 * 32;
constexpr std::uint8_t kClasses = 10, kFineClasses = 100;

// Label bytes of a row, 0 if the file is neither. Both fit where the size says so: then the labels decide.
std::size_t label_bytes(std::span<const std::byte> bytes) {
  for (const std::size_t labels : {std::size_t{1}, std::size_t{2}}) {
    const std::size_t row = kPixels + labels;
    if (bytes.empty() || bytes.size() % row != 0) continue;
    bool fits = true;
    for (std::size_t at = labels - 1; at < bytes.size() && fits; at += row)
      fits = static_cast<std::uint8_t>(bytes[at]) < (labels == 1 ? kClasses : kFineClasses);
    if (fits) return labels;
  }
  return 0;
}

}  // namespace

// A text has the right size now and then, and its characters are labels below 100.
bool is_cifar(std::span<const std::byte> bytes) { return !is_text(bytes) && label_bytes(bytes) != 0; }

RawSplit read_cifar(std::span<const std::byte> bytes, const std::string& name, const ReadOptions& options) {
  const std::size_t labels = label_bytes(bytes);
  if (labels == 0)
    throw Error(
        ErrorKind::kBadData, {.file = name},
        fmt::format("size, found {} bytes, expected rows of 3073 with labels below 10 (CIFAR-10) or of "
                    "3074 with labels below 100 (CIFAR-100)",
                    bytes.size()));
  const std::size_t row = kPixels + labels;
  auto samples = static_cast<std::int64_t>(bytes.size() / row);
  if (options.max_rows > 0) samples = std::min(samples, options.max_rows);
  RawSplit split;
  split.image = {.channels = 3, .height = 32, .width = 32};
  split.inputs = {
      .samples = samples, .features = static_cast<std::int32_t>(kPixels), .bytes = {}, .floats = {}};
  split.inputs.bytes.reserve(static_cast<std::size_t>(samples) * kPixels);
  for (std::int64_t s = 0; s < samples; ++s) {
    const std::span<const std::byte> sample = bytes.subspan(static_cast<std::size_t>(s) * row, row);
    split.labels.numbers.push_back(static_cast<double>(sample[labels - 1]));
    for (const std::byte pixel : sample.subspan(labels))
      split.inputs.bytes.push_back(static_cast<std::uint8_t>(pixel));
  }
  return split;
}

}  // namespace tulle
