#pragma once

// What the writer and the reader of model files share: the metadata of model_file.h.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "tulle/checkpoint/safetensors.h"
#include "tulle/nn/network.h"

namespace tulle {

using Json = nlohmann::json;

constexpr int kFormatVersion = 1;
constexpr const char* kRandomAlgorithm = "philox4x32-10";

/// Limits that keep what a hostile file costs near its own size: bytes of one JSON text, and inputs that no
/// tensor of the file speaks for.
constexpr std::size_t kMaxJsonBytes = 8 << 20;
constexpr std::int64_t kMaxFreeInputs = 8 << 20;

/// Metadata 'sparse': which matrices are stored as CSR, for other readers.
Json sparse_layout(const Network& network);

/// Metadata 'xxh3': the XXH3-64 of a tensor, 16 hex digits.
std::string hash_of(std::span<const std::byte> bytes);

/// Whether `json` is a T and nothing like it: Json::get() would turn 1.5 and true into 1.
template <class T>
bool is_json(const Json& json) {
  if constexpr (std::is_same_v<T, bool>) return json.is_boolean();
  if constexpr (std::is_same_v<T, std::string>) return json.is_string();
  if constexpr (std::is_same_v<T, double>) return json.is_number();
  if constexpr (std::is_same_v<T, std::uint64_t>) return json.is_number_unsigned();
  if constexpr (std::is_same_v<T, std::int64_t>)
    return json.is_number_integer() &&
           !(json.is_number_unsigned() &&
             json.get<std::uint64_t>() > std::uint64_t{std::numeric_limits<std::int64_t>::max()});
  return std::is_same_v<T, Json>;
}

/// The metadata of one file; what is not as it must be is refused (kBadData) with the file and the field.
class MetadataReader {
 public:
  explicit MetadataReader(const SafetensorsFile& file) : file_(file) {}

  [[noreturn]] void refuse(std::string_view what, std::string_view found, std::string_view expected) const;

  /// "" if there is none.
  std::string optional_text(const std::string& key) const;
  std::string text(const std::string& key) const;
  /// T is std::int64_t or std::uint64_t; never negative.
  template <class T>
  T number(const std::string& key) const;
  Json json(const std::string& key) const;

  /// Field `name` of `object`, which is or lies in metadata `key`.
  template <class T>
  T field(std::string_view key, const Json& object, const std::string& name) const {
    const auto found = object.is_object() ? object.find(name) : object.end();
    if (found == object.end() || !is_json<T>(*found))
      refuse_field(key, name, "none or of another type", "one");
    return found->template get<T>();
  }
  /// The same for a number that is not negative.
  std::int64_t count(std::string_view key, const Json& object, const std::string& name) const;

 private:
  [[noreturn]] void refuse_field(std::string_view key, std::string_view name, std::string_view found,
                                 std::string_view expected) const;
  const SafetensorsFile& file_;
};

}  // namespace tulle
