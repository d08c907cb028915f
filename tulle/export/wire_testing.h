#pragma once

// For tests only: protobuf messages read back.

#include <cstdint>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace tulle::testing {

/// The fields of a message by number, in their order: bytes, or whole numbers as their decimal digits.
class WireMessage {
 public:
  explicit WireMessage(std::string_view bytes) {
    while (!bytes.empty()) {
      const std::uint64_t tag = varint(bytes);
      std::string value;
      if (const std::uint64_t type = tag & 7; type == 0) {
        value = std::to_string(static_cast<std::int64_t>(varint(bytes)));
      } else {
        const std::uint64_t length = type == 2 ? varint(bytes) : type == 5 ? 4 : 8;
        if (length > bytes.size()) throw std::runtime_error("message is cut off");
        value = bytes.substr(0, length);
        bytes.remove_prefix(length);
      }
      fields_[static_cast<int>(tag >> 3)].push_back(std::move(value));
    }
  }

  /// All values of a field.
  std::vector<std::string> all(int field) const {
    const auto found = fields_.find(field);
    return found == fields_.end() ? std::vector<std::string>{} : found->second;
  }
  /// The one value of a field.
  const std::string& at(int field) const {
    const std::vector<std::string>& values = fields_.at(field);
    if (values.size() != 1)
      throw std::runtime_error("field " + std::to_string(field) + " occurs several times");
    return values.front();
  }
  WireMessage message(int field) const { return WireMessage(at(field)); }

 private:
  static std::uint64_t varint(std::string_view& bytes) {
    std::uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto group = static_cast<unsigned char>(bytes.at(0));
      bytes.remove_prefix(1);
      value |= std::uint64_t{group & 127u} << shift;
      if (group < 128) return value;
    }
  }

  std::map<int, std::vector<std::string>> fields_;
};

/// Raw bytes as numbers.
template <class T>
std::vector<T> numbers_in(const std::string& raw) {
  std::vector<T> values(raw.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), raw.data(), raw.size());
  return values;
}

}  // namespace tulle::testing
