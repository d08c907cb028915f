#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "tulle/base/checked_size.h"
#include "tulle/base/error.h"
#include "tulle/data/readers.h"

namespace tulle {

FitsBytes is_idx;

namespace {

// IDX: bytes 0 0 T D, then D big-endian 32-bit sizes, then the values, big-endian. T is one of
struct Type {
  std::uint8_t code;
  std::uint64_t bytes;
};
constexpr std::uint8_t kU8 = 0x08, kI8 = 0x09, kI16 = 0x0b, kI32 = 0x0c, kF32 = 0x0d, kF64 = 0x0e;
constexpr Type kTypes[] = {{kU8, 1}, {kI8, 1}, {kI16, 2}, {kI32, 4}, {kF32, 4}, {kF64, 8}};

const Type* find_type(std::byte code) {
  for (const Type& type : kTypes)
    if (type.code == static_cast<std::uint8_t>(code)) return &type;
  return nullptr;
}

std::uint64_t big_endian(std::span<const std::byte> bytes) {
  std::uint64_t value = 0;
  for (const std::byte byte : bytes) value = value << 8 | static_cast<std::uint64_t>(byte);
  return value;
}

double value_of(const Type& type, std::span<const std::byte> bytes) {
  const std::uint64_t raw = big_endian(bytes);
  switch (type.code) {
    case kU8:
      return static_cast<double>(raw);
    case kI8:
      return static_cast<std::int8_t>(raw);
    case kI16:
      return static_cast<std::int16_t>(raw);
    case kI32:
      return static_cast<std::int32_t>(raw);
    case kF32:
      return std::bit_cast<float>(static_cast<std::uint32_t>(raw));
    default:
      return std::bit_cast<double>(raw);
  }
}

class File {
 public:
  File(std::span<const std::byte> bytes, const std::string& name) : bytes_(bytes), name_(name) {
    read_header();
  }

  RawSplit read(const ReadOptions& options) const {
    std::uint64_t samples = sizes_[0];
    if (options.max_rows > 0) samples = std::min(samples, static_cast<std::uint64_t>(options.max_rows));
    RawSplit split;
    split.inputs.samples = static_cast<std::int64_t>(samples);
    if (sizes_.size() == 1) {
      split.labels.numbers.reserve(samples);
      for (std::uint64_t i = 0; i < samples; ++i) split.labels.numbers.push_back(value(i));
      return split;
    }
    split.inputs.features = static_cast<std::int32_t>(features_);
    split.image = image();
    if (type_->code == kU8) {
      const auto* const first = reinterpret_cast<const std::uint8_t*>(bytes_.data() + start_);
      split.inputs.bytes.assign(first, first + samples * features_);
    } else {
      split.inputs.floats = floats(samples * features_, options.allow_nonfinite);
    }
    return split;
  }

 private:
  [[noreturn]] void refuse(std::uint64_t offset, std::string_view what, std::string_view found,
                           std::string_view expected) const {
    throw Error(ErrorKind::kBadData, {.file = name_, .offset = static_cast<std::int64_t>(offset)},
                fmt::format("{}, found {}, expected {}", what, found, expected));
  }

  void read_header() {
    if (bytes_.size() < 4) refuse(0, "IDX magic number", fmt::format("{} bytes", bytes_.size()), "4");
    if (!is_idx(bytes_))
      refuse(0, "IDX magic number", fmt::format("{:08x}", big_endian(bytes_.first(4))),
             "0000TTDD with type TT 08, 09 or 0b to 0e and 01 to 04 dimensions DD");
    type_ = find_type(bytes_[2]);
    const auto dimensions = static_cast<std::size_t>(bytes_[3]);
    start_ = 4 + 4 * dimensions;
    if (bytes_.size() < start_)
      refuse(4, "IDX sizes", fmt::format("{} bytes", bytes_.size() - 4), fmt::format("{}", 4 * dimensions));
    for (std::size_t d = 0; d < dimensions; ++d) sizes_.push_back(big_endian(bytes_.subspan(4 + 4 * d, 4)));
    std::uint64_t expected = 0;
    try {
      for (std::size_t d = 1; d < dimensions; ++d) features_ = checked_multiply(features_, sizes_[d]);
      expected = checked_add(start_, checked_multiply(checked_multiply(features_, sizes_[0]), type_->bytes));
    } catch (const std::overflow_error&) {
      refuse(4, "IDX sizes", "a product beyond 64 bits", fmt::format("what fits in {} bytes", bytes_.size()));
    }
    if (expected != bytes_.size())
      refuse(4, "size of the file", fmt::format("{} bytes", bytes_.size()),
             fmt::format("{} as its IDX sizes say", expected));
    if (features_ > static_cast<std::uint64_t>(std::numeric_limits<std::int32_t>::max()))
      refuse(8, "features", fmt::format("{}", features_), "fewer than 2^31");
  }

  // A sample of two dimensions is a gray image, one of three has its channels first.
  ImageShape image() const {
    if (sizes_.size() < 3 || features_ == 0) return {};
    const auto size = [this](std::size_t from_end) {
      return static_cast<int>(sizes_[sizes_.size() - from_end]);
    };
    return {sizes_.size() == 4 ? size(3) : 1, size(2), size(1)};
  }

  double value(std::uint64_t i) const { return value_of(*type_, bytes_.subspan(place(i), type_->bytes)); }
  std::uint64_t place(std::uint64_t i) const { return start_ + i * type_->bytes; }

  AlignedVector<float> floats(std::uint64_t count, bool allow_nonfinite) const {
    AlignedVector<float> values(count);
    for (std::uint64_t i = 0; i < count; ++i) {
      const double number = value(i);
      values[i] = static_cast<float>(number);
      if (!std::isfinite(values[i]) && !allow_nonfinite)
        refuse(place(i), fmt::format("row {}, feature {}", i / features_ + 1, i % features_ + 1),
               fmt::format("{}", number),
               "a finite number of 32-bit floating point; data.nan = \"zero\" or \"drop\" allows it");
    }
    return values;
  }

  std::span<const std::byte> bytes_;
  const std::string& name_;
  const Type* type_ = nullptr;
  std::vector<std::uint64_t> sizes_;
  std::uint64_t features_ = 1;  // values a sample
  std::uint64_t start_ = 0;     // of the values
};

}  // namespace

bool is_idx(std::span<const std::byte> bytes) {
  return bytes.size() >= 4 && bytes[0] == std::byte{0} && bytes[1] == std::byte{0} &&
         find_type(bytes[2]) != nullptr && bytes[3] >= std::byte{1} && bytes[3] <= std::byte{4};
}

RawSplit read_idx(std::span<const std::byte> bytes, const std::string& name, const ReadOptions& options) {
  return File(bytes, name).read(options);
}

}  // namespace tulle
