#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace tulle {

/// A protobuf message in the making (protobuf.dev/programming-guides/encoding), field by field in the order
/// of the calls, in one buffer: what is nested is written where it stays. A field of value 0 is written like
/// any other.
class WireWriter {
 public:
  /// A whole number, truth or enumeration; negative ones take ten bytes, as int64 has them.
  void number(int field, std::int64_t value);
  void real(int field, float value);
  void real(int field, double value);
  /// A string or bytes; strings must be UTF-8.
  void text(int field, std::string_view value);
  /// Bytes that the caller fills: `count` of them, 0 at first. Valid until the next call. Not aligned.
  std::span<std::byte> bytes(int field, std::size_t count);
  void packed(int field, std::span<const double> values);
  void packed(int field, std::span<const std::int64_t> values);

  /// The message that body(*this) writes. Cost: its bytes are moved once, by the few that say its length.
  template <class Body>
  void message(int field, const Body& body) {
    const std::size_t start = begin(field);
    body(*this);
    end(start);
  }

  std::size_t size() const { return buffer_.size(); }
  std::string take() { return std::exchange(buffer_, {}); }

 private:
  void tag(int field, int wire_type);
  void varint(std::uint64_t value);
  template <class T>
  void little_endian(T value);
  std::size_t begin(int field);
  void end(std::size_t start);

  std::string buffer_;
};

}  // namespace tulle
