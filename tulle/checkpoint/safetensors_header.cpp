#include "tulle/checkpoint/safetensors_header.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "tulle/base/checked_size.h"
#include "tulle/base/error.h"
#include "tulle/checkpoint/json_text.h"

namespace tulle {
namespace {

struct DTypeInfo {
  std::string_view name;
  std::uint64_t bytes;
};

constexpr DTypeInfo kDTypes[] = {  // in the order of DType
    {"U8", 1},  {"I8", 1},  {"U16", 2},  {"I16", 2}, {"U32", 4}, {"I32", 4}, {"U64", 8},
    {"I64", 8}, {"F16", 2}, {"BF16", 2}, {"F32", 4}, {"F64", 8}, {"BOOL", 1}};

constexpr std::uint64_t kJsonStart = 8;  // after the length

/// Reads exactly the grammar of a safetensors header, which is three levels deep: no recursion.
///
/// We do not use nlohmann::json here: it keeps every token with the white space before it, several times over
/// when it reports an error (measured: 4 MiB of newlines take 154 MiB).
class HeaderReader {
 public:
  HeaderReader(std::string_view json, const std::string& file)
      : json_(json, kJsonStart, kMaxHeaderText, file) {}

  SafetensorsHeader read() {
    SafetensorsHeader header;
    bool has_metadata = false;
    json_.object([&](std::string name, std::uint64_t position) {
      if (name != "__metadata__") {
        limit_entries(header.tensors.size(), "number of tensors", position);
        header.tensors.push_back(tensor(std::move(name), position));
      } else if (!std::exchange(has_metadata, true)) {
        header.metadata = metadata();
      } else {
        json_.refuse(position, "__metadata__", "it twice", "it once");
      }
    });
    json_.expect_end();
    return header;
  }

 private:
  void limit_entries(std::size_t count, std::string_view thing, std::uint64_t position) const {
    if (count >= kMaxHeaderEntries)
      json_.refuse(position, thing, "more", fmt::format("at most {}", kMaxHeaderEntries));
  }

  Metadata metadata() {
    Metadata metadata;
    json_.object([&](std::string key, std::uint64_t position) {
      limit_entries(metadata.size(), "number of metadata entries", position);
      const auto [entry, is_new] = metadata.try_emplace(std::move(key));
      if (!is_new) json_.refuse(position, "metadata key", in_quotes(entry->first) + " again", "unique keys");
      entry->second = json_.string();
    });
    return metadata;
  }

  TensorEntry tensor(std::string name, std::uint64_t position) {
    TensorEntry tensor{.name = std::move(name), .position = position};
    bool has_dtype = false, has_shape = false, has_offsets = false;
    json_.object([&](const std::string& field, std::uint64_t place) {
      if (field == "dtype" && !std::exchange(has_dtype, true)) {
        tensor.dtype = dtype();
      } else if (field == "shape" && !std::exchange(has_shape, true)) {
        tensor.shape = shape();
      } else if (field == "data_offsets" && !std::exchange(has_offsets, true)) {
        const std::vector<std::uint64_t> offsets = numbers(2);
        if (offsets.size() != 2) json_.refuse(place, "data_offsets", "another number of values", "2");
        tensor.begin = offsets[0];
        tensor.end = offsets[1];
      } else {
        json_.refuse(place, "field of a tensor", in_quotes(field),
                     "dtype, shape and data_offsets, each once");
      }
    });
    if (!has_dtype || !has_shape || !has_offsets)
      json_.refuse(position, "tensor " + in_quotes(tensor.name), "a field missing",
                   "dtype, shape and data_offsets");
    return tensor;
  }

  DType dtype() {
    const std::uint64_t position = json_.position();
    const std::string name = json_.string();
    const auto* const info = std::ranges::find(kDTypes, name, &DTypeInfo::name);
    if (info == std::end(kDTypes))
      json_.refuse(position, "dtype", in_quotes(name), "U8 to U64, I8 to I64, F16, BF16, F32, F64 or BOOL");
    return static_cast<DType>(info - std::begin(kDTypes));
  }

  std::vector<std::int64_t> shape() {
    const std::uint64_t position = json_.position();
    std::vector<std::int64_t> shape;
    for (const std::uint64_t size : numbers(kMaxRank)) {
      if (size > std::numeric_limits<std::int64_t>::max())
        json_.refuse(position, "shape", fmt::to_string(size), "below 2^63");
      shape.push_back(static_cast<std::int64_t>(size));
    }
    return shape;
  }

  std::vector<std::uint64_t> numbers(std::size_t limit) {
    std::vector<std::uint64_t> numbers;
    json_.array([&](std::uint64_t position) {
      if (numbers.size() == limit)
        json_.refuse(position, "array", "more", fmt::format("at most {} numbers", limit));
      numbers.push_back(json_.number());
    });
    return numbers;
  }

  JsonText json_;
};

[[noreturn]] void refuse(const std::string& file, const TensorEntry& tensor, std::string_view what) {
  throw Error(ErrorKind::kBadData, Place{file, static_cast<std::int64_t>(tensor.position)},
              fmt::format("tensor {}, {}", in_quotes(tensor.name), what));
}

void check_names(const std::vector<TensorEntry>& tensors, const std::string& file) {
  std::vector<const TensorEntry*> by_name;
  by_name.reserve(tensors.size());
  for (const TensorEntry& tensor : tensors) by_name.push_back(&tensor);
  std::ranges::sort(by_name, {}, &TensorEntry::name);
  const auto twice = std::ranges::adjacent_find(by_name, {}, &TensorEntry::name);
  if (twice != by_name.end()) refuse(file, **twice, "found twice, expected once");
}

void check_size(const TensorEntry& tensor, const std::string& file) {
  std::uint64_t bytes = 0;
  try {
    bytes = tensor_bytes(tensor.dtype, tensor.shape);
  } catch (const std::overflow_error&) {
    refuse(file, tensor,
           fmt::format("shape, found [{}], expected a size below 2^64", fmt::join(tensor.shape, ", ")));
  }
  if (tensor.begin > tensor.end || tensor.end - tensor.begin != bytes)
    refuse(file, tensor,
           fmt::format("data_offsets, found [{}, {}], expected a range of {} bytes for its shape",
                       tensor.begin, tensor.end, bytes));
}

/// Tensors in the order of the data, each starting where the one before ended. An empty tensor may stand at
/// any such boundary.
void check_layout(const std::vector<TensorEntry>& tensors, std::uint64_t data_bytes,
                  const std::string& file) {
  std::uint64_t end = 0;
  for (const TensorEntry& tensor : tensors) {
    check_size(tensor, file);
    if (tensor.begin != end)
      refuse(file, tensor,
             fmt::format("start of its data, found {}, expected {}: {}", tensor.begin, end,
                         tensor.begin < end ? "an overlap" : "a hole"));
    end = tensor.end;
    if (end > data_bytes)
      refuse(file, tensor, fmt::format("end of its data, found {}, expected at most {}", end, data_bytes));
  }
  if (end != data_bytes)
    throw Error(
        ErrorKind::kBadData, Place{.file = file},
        fmt::format("size of the data, found {} bytes, expected {} for the tensors", data_bytes, end));
}

}  // namespace

std::string_view dtype_name(DType dtype) { return kDTypes[static_cast<int>(dtype)].name; }
std::uint64_t dtype_bytes(DType dtype) { return kDTypes[static_cast<int>(dtype)].bytes; }

std::uint64_t tensor_bytes(DType dtype, std::span<const std::int64_t> shape) {
  return std::accumulate(shape.begin(), shape.end(), dtype_bytes(dtype),
                         [](std::uint64_t bytes, std::int64_t size) {
                           return checked_multiply(bytes, static_cast<std::uint64_t>(size));
                         });
}

SafetensorsHeader parse_header(std::string_view json, std::uint64_t data_bytes, const std::string& file) {
  SafetensorsHeader header = HeaderReader(json, file).read();
  check_names(header.tensors, file);
  std::ranges::stable_sort(header.tensors, {}, [](const TensorEntry& tensor) {
    return std::pair(tensor.begin, tensor.end);  // empty tensors before the one that starts at the same place
  });
  check_layout(header.tensors, data_bytes, file);
  return header;
}

std::string make_header(const Metadata& metadata, std::span<const TensorEntry> tensors) {
  std::string header(kJsonStart, '\0');
  header += '{';
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) header += json_quoted(key) + ':' + json_quoted(value) + ',';
    header.back() = '}';
    header += ',';
  }
  for (const TensorEntry& tensor : tensors)
    header += fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}},",
                          json_quoted(tensor.name), dtype_name(tensor.dtype), fmt::join(tensor.shape, ","),
                          tensor.begin, tensor.end);
  if (header.back() == ',') header.pop_back();
  header += '}';
  header.resize((header.size() + 63) / 64 * 64, ' ');
  const std::uint64_t length = header.size() - kJsonStart;
  std::memcpy(header.data(), &length, sizeof(length));
  return header;
}

}  // namespace tulle
