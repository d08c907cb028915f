#include "tulle/data/npy.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "tulle/data/refuse.h"

namespace tulle {

ReadBytes read_npy;
FitsBytes is_npy;

namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::size_t kMostHeader = 10'000;

[[noreturn]] void refuse_npy(const std::string& file, std::string_view what, std::string_view found,
                             std::string_view expected) {
  refuse(file, fmt::format("NPY {}", what), found, expected);
}

// The header is a Python dictionary with three keys of known form; it is read as that and nothing more.
std::string_view value_of(std::string_view header, std::string_view key, const std::string& file) {
  const std::string quoted = fmt::format("'{}':", key);
  const std::size_t at = header.find(quoted);
  if (at == std::string_view::npos)
    refuse_npy(file, "header", fmt::format("no {}", key), "descr, fortran_order and shape");
  std::string_view value = header.substr(at + quoted.size());
  value.remove_prefix(std::min(value.find_first_not_of(' '), value.size()));
  return value;
}

std::vector<std::int64_t> shape_of(std::string_view value, const std::string& file) {
  std::vector<std::int64_t> shape;
  const std::size_t close = value.find(')');
  if (!value.starts_with('(') || close == std::string_view::npos)
    refuse_npy(file, "shape", fmt::format("'{}'", value.substr(0, 40)), "a tuple");
  value = value.substr(1, close - 1);
  while (!value.empty()) {
    value.remove_prefix(std::min(value.find_first_not_of(", "), value.size()));
    if (value.empty()) break;
    std::int64_t side = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), side);
    if (error != std::errc{} || side < 0 || shape.size() == 32)
      refuse_npy(file, "shape", fmt::format("'{}'", value.substr(0, 40)), "at most 32 whole numbers");
    value.remove_prefix(static_cast<std::size_t>(end - value.data()));
    if (value.starts_with('L')) value.remove_prefix(1);  // Python 2
    shape.push_back(side);
  }
  return shape;
}

void set_type(std::string_view value, Array& array, const std::string& file) {
  const std::size_t close = value.size() > 1 ? value.find('\'', 1) : std::string_view::npos;
  const std::string_view code =
      value.starts_with('\'') && close != std::string_view::npos ? value.substr(1, close - 1) : "";
  const auto unsupported = [&] {
    refuse_npy(file, "dtype",
               fmt::format("{}", value.substr(0, std::min<std::size_t>(value.find(", 'f"), 40))),
               "bool, whole numbers, floats of 2, 4 or 8 bytes, or text of fixed length");
  };
  if (code.size() < 3) unsupported();
  array.big_endian = code[0] == '>';
  std::size_t item = 0;
  const auto [end, error] = std::from_chars(code.data() + 2, code.data() + code.size(), item);
  if (error != std::errc{} || end != code.data() + code.size()) unsupported();
  array.item = item;
  const auto one_of = [&](std::initializer_list<std::size_t> sizes) {
    return std::ranges::find(sizes, item) != sizes.end();
  };
  if (code[1] == 'b' && item == 1)
    array.type = Array::Type::kBool;
  else if (code[1] == 'i' && one_of({1, 2, 4, 8}))
    array.type = Array::Type::kInt;
  else if (code[1] == 'u' && one_of({1, 2, 4, 8}))
    array.type = Array::Type::kUnsigned;
  else if (code[1] == 'f' && one_of({2, 4, 8}))
    array.type = Array::Type::kFloat;
  else if (code[1] == 'S' && item >= 1 && item <= 64)
    array.type = Array::Type::kBytes;
  else
    unsupported();
}

}  // namespace

Array parse_npy(std::span<const std::byte> bytes, std::string array_name, const std::string& file) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (!text.starts_with(kMagic) || text.size() < 12) refuse_npy(file, "magic", "another", "\\x93NUMPY");
  const int version = static_cast<unsigned char>(text[6]);
  if (version < 1 || version > 3) refuse_npy(file, "version", fmt::format("{}", version), "1, 2 or 3");
  const std::size_t head = version == 1 ? 10 : 12;
  std::size_t length = 0;
  for (std::size_t b = head; b-- > 8;) length = length << 8 | static_cast<unsigned char>(text[b]);
  if (length > kMostHeader || length > text.size() - head)
    refuse_npy(file, "header", fmt::format("{} bytes", length),
               fmt::format("at most {}", std::min(kMostHeader, text.size() - head)));
  const std::string_view header = text.substr(head, length);
  Array array;
  array.name = std::move(array_name);
  set_type(value_of(header, "descr", file), array, file);
  const std::string_view order = value_of(header, "fortran_order", file);
  if (!order.starts_with("True") && !order.starts_with("False"))
    refuse_npy(file, "fortran_order", fmt::format("'{}'", order.substr(0, 10)), "True or False");
  array.column_major = order.starts_with("True");
  array.shape = shape_of(value_of(header, "shape", file), file);
  const std::span<const std::byte> rest = bytes.subspan(head + length);
  array.bytes = rest.first(array_bytes(array, rest.size(), file));
  return array;
}

std::string npy_head(std::string_view type, std::span<const std::int64_t> shape) {
  constexpr std::size_t kFixed = 10, kAlignment = 64;  // magic, version and length; where values begin
  std::string header = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}{}), }}", type,
                                   fmt::join(shape, ", "), shape.size() == 1 ? "," : "");
  header.resize((kFixed + header.size() + kAlignment) / kAlignment * kAlignment - kFixed - 1, ' ');
  header += '\n';
  const char length[] = {static_cast<char>(header.size() & 0xff), static_cast<char>(header.size() >> 8)};
  return std::string(kMagic) + std::string("\x01\x00", 2) + std::string(length, 2) + header;
}

bool is_npy(std::span<const std::byte> bytes) {
  return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()).starts_with(kMagic);
}

RawSplit read_npy(std::span<const std::byte> bytes, const std::string& name, const ReadOptions& options) {
  const Array arrays[] = {parse_npy(bytes, "X", name)};
  ReadOptions alone = options;
  alone.arrays = "auto";
  return split_of(arrays, name, alone);
}

}  // namespace tulle
