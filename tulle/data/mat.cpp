#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <optional>

#include "tulle/data/array.h"
#include "tulle/data/gzip.h"
#include "tulle/data/refuse.h"

namespace tulle {

ReadBytes read_mat;
FitsBytes is_mat;

namespace {

// MATLAB 5 files: a header of 128 bytes, then elements of a type, a length and data padded to 8 bytes.
// Numeric arrays that are full and real, in a file of this byte order, compressed or not; everything else is
// passed over, and refused if it is asked for.
constexpr std::size_t kHeader = 128;
constexpr std::uint32_t kMatrix = 14, kCompressed = 15;

[[noreturn]] void refuse_mat(const std::string& file, std::string_view what, std::string_view found,
                             std::string_view expected) {
  refuse(file, fmt::format("MATLAB {}", what), found, expected);
}

std::uint32_t word(std::span<const std::byte> bytes, std::size_t at) {
  std::uint32_t value = 0;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

struct Element {
  std::uint32_t type = 0;
  std::span<const std::byte> data;
};

// Takes the next element off `bytes`: two words of type and length, or one word of both before up to four
// bytes of data.
Element next_element(std::span<const std::byte>& bytes, const std::string& file) {
  if (bytes.size() < 8) refuse_mat(file, "element", "the end of the file", "8 bytes or more");
  const std::uint32_t first = word(bytes, 0);
  const bool small = first >> 16 != 0;
  const std::size_t start = small ? 4 : 8, length = small ? first >> 16 : word(bytes, 4);
  if (length > bytes.size() - start || (small && length > 4))
    refuse_mat(file, "element", fmt::format("{} bytes", length),
               fmt::format("at most {}", small ? 4 : bytes.size() - start));
  Element element{small ? first & 0xffff : first, bytes.subspan(start, length)};
  // Compressed elements are not padded.
  const std::size_t whole = small ? 8 : element.type == kCompressed ? 8 + length : (8 + length + 7) / 8 * 8;
  bytes = bytes.subspan(std::min(whole, bytes.size()));
  return element;
}

// The type numbers of stored values: 1 to 7 are whole numbers of 8, 16 and 32 bits, 9 double, 12 and 13 whole
// numbers of 64 bits.
bool set_type(std::uint32_t type, Array& array) {
  struct Known {
    std::uint32_t type;
    Array::Type kind;
    std::size_t item;
  };
  using Kind = Array::Type;
  constexpr Known kKnown[] = {{1, Kind::kInt, 1},      {2, Kind::kUnsigned, 1}, {3, Kind::kInt, 2},
                              {4, Kind::kUnsigned, 2}, {5, Kind::kInt, 4},      {6, Kind::kUnsigned, 4},
                              {7, Kind::kFloat, 4},    {9, Kind::kFloat, 8},    {12, Kind::kInt, 8},
                              {13, Kind::kUnsigned, 8}};
  const auto found = std::ranges::find(kKnown, type, &Known::type);
  if (found == std::end(kKnown)) return false;
  array.type = found->kind;
  array.item = found->item;
  return true;
}

// Nothing for arrays that are not full, real and numeric.
std::optional<Array> parse_matrix(std::span<const std::byte> bytes, const std::string& file) {
  const Element flags = next_element(bytes, file), sides = next_element(bytes, file),
                name = next_element(bytes, file);
  if (flags.data.size() < 4) refuse_mat(file, "array flags", fmt::format("{} bytes", flags.data.size()), "8");
  const std::uint32_t flag = word(flags.data, 0), kind = flag & 0xff;
  const bool complex = (flag & 0x800) != 0;
  Array array;
  array.column_major = true;
  array.name.assign(reinterpret_cast<const char*>(name.data.data()), name.data.size());
  if (kind < 6 || kind > 15 || complex) return std::nullopt;  // cells, structures, objects, text, sparse
  for (std::size_t at = 0; at + 4 <= sides.data.size(); at += 4)
    array.shape.push_back(static_cast<std::int32_t>(word(sides.data, at)));
  if (array.shape.size() < 2 || array.shape.size() > 32)
    refuse_mat(file, fmt::format("array '{}'", array.name), fmt::format("{} sides", array.shape.size()),
               "2 to 32");
  const Element values = next_element(bytes, file);
  if (!set_type(values.type, array))
    refuse_mat(file, fmt::format("array '{}', type of its values", array.name),
               fmt::format("{}", values.type), "a numeric one");
  array.bytes = values.data.first(array_bytes(array, values.data.size(), file));
  return array;
}

}  // namespace

bool is_mat(std::span<const std::byte> bytes) {
  return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size())
      .starts_with("MATLAB 5.0");
}

RawSplit read_mat(std::span<const std::byte> bytes, const std::string& name, const ReadOptions& options) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (bytes.size() < kHeader || !text.starts_with("MATLAB 5.0"))
    refuse_mat(name, "file", text.starts_with("MATLAB 7.3") ? "version 7.3 (HDF5)" : "another format",
               "version 5");
  if (text.substr(126, 2) != "IM") refuse_mat(name, "byte order", "that of another machine", "little-endian");
  std::deque<Content> unpacked;  // arrays point into them
  std::vector<Array> arrays;
  std::uint64_t left =
      std::min<std::uint64_t>(content_limit(), 1032 * std::uint64_t{bytes.size()} + (1 << 16));
  for (std::span<const std::byte> rest = bytes.subspan(kHeader); rest.size() >= 8;) {
    Element element = next_element(rest, name);
    if (element.type == kCompressed) {
      unpacked.push_back(unpack_zlib(element.data, name, left));
      left -= unpacked.back().size();
      std::span<const std::byte> inner = unpacked.back();
      element = next_element(inner, name);
    }
    if (element.type != kMatrix)
      refuse_mat(name, "element type", fmt::format("{}", element.type), "an array");
    if (std::optional<Array> array = parse_matrix(element.data, name)) arrays.push_back(std::move(*array));
  }
  return split_of(arrays, name, options);
}

}  // namespace tulle
