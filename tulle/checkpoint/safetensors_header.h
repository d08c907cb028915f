#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tulle {

/// Element types of a safetensors file, by the names the format uses.
enum class DType { U8, I8, U16, I16, U32, I32, U64, I64, F16, BF16, F32, F64, BOOL };

std::string_view dtype_name(DType dtype);
std::uint64_t dtype_bytes(DType dtype);

using Metadata = std::map<std::string, std::string>;

/// What the header says about one tensor.
struct TensorEntry {
  std::string name;
  DType dtype = DType::U8;
  std::vector<std::int64_t> shape{};  // empty: one element
  std::uint64_t begin = 0;            // in bytes, from the start of the data
  std::uint64_t end = 0;
  std::uint64_t position = 0;  // of the name in the file, for messages
};

struct SafetensorsHeader {
  Metadata metadata;
  std::vector<TensorEntry> tensors;  // in the order of the data
};

/// Limits of a header. They hold the memory that a hostile one can take below 64 MB; safetensors itself has
/// only the first.
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;
constexpr std::size_t kMaxHeaderEntries = 100'000;  // tensors; also entries of the metadata
constexpr std::size_t kMaxHeaderText = 24 << 20;    // bytes of all names and metadata values
constexpr std::size_t kMaxRank = 16;

/// The bytes of elements of this shape. Throws std::overflow_error beyond 64 bits.
std::uint64_t tensor_bytes(DType dtype, std::span<const std::int64_t> shape);

/// Reads the JSON text that starts at byte 8 of a safetensors file with `data_bytes` of data, and checks all
/// of it: grammar, UTF-8, unique keys, types, shapes and that the tensors fill the data without holes or
/// overlaps.
///
/// Memory  what it returns, no more: nothing is allocated before its size was compared with the text left.
/// Throws  Error kBadData with the place in `file`.
SafetensorsHeader parse_header(std::string_view json, std::uint64_t data_bytes, const std::string& file);

/// The first bytes of a file: length, JSON text of the entries in the given order, and spaces up to a
/// multiple of 64.
std::string make_header(const Metadata& metadata, std::span<const TensorEntry> tensors);

}  // namespace tulle
