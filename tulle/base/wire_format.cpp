#include "tulle/base/wire_format.h"

#include <bit>
#include <cstring>

namespace tulle {
namespace {

static_assert(std::endian::native == std::endian::little, "protobuf numbers are little-endian");

// Wire types.
constexpr int kVarint = 0, kEightBytes = 1, kLength = 2, kFourBytes = 5;

// `value` in groups of 7 bits, the lowest first, all but the last marked by the highest bit; their count.
std::size_t encode(std::uint64_t value, char (&groups)[10]) {
  std::size_t count = 0;
  for (; value >= 0x80; value >>= 7) groups[count++] = static_cast<char>(value | 0x80);
  groups[count++] = static_cast<char>(value);
  return count;
}

}  // namespace

void WireWriter::varint(std::uint64_t value) {
  char groups[10];
  buffer_.append(groups, encode(value, groups));
}

void WireWriter::tag(int field, int wire_type) { varint(static_cast<std::uint64_t>(field << 3 | wire_type)); }

template <class T>
void WireWriter::little_endian(T value) {
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  buffer_.append(bytes, sizeof value);
}

void WireWriter::number(int field, std::int64_t value) {
  tag(field, kVarint);
  varint(static_cast<std::uint64_t>(value));
}

void WireWriter::real(int field, float value) {
  tag(field, kFourBytes);
  little_endian(value);
}

void WireWriter::real(int field, double value) {
  tag(field, kEightBytes);
  little_endian(value);
}

void WireWriter::text(int field, std::string_view value) {
  tag(field, kLength);
  varint(value.size());
  buffer_ += value;
}

std::span<std::byte> WireWriter::bytes(int field, std::size_t count) {
  tag(field, kLength);
  varint(count);
  buffer_.resize(buffer_.size() + count);
  return std::as_writable_bytes(std::span(buffer_)).last(count);
}

void WireWriter::packed(int field, std::span<const double> values) {
  const std::span<std::byte> room = bytes(field, values.size_bytes());
  if (!values.empty()) std::memcpy(room.data(), values.data(), room.size());
}

void WireWriter::packed(int field, std::span<const std::int64_t> values) {
  message(field, [&](WireWriter&) {
    for (const std::int64_t value : values) varint(static_cast<std::uint64_t>(value));
  });
}

std::size_t WireWriter::begin(int field) {
  tag(field, kLength);
  return buffer_.size();
}

void WireWriter::end(std::size_t start) {
  char groups[10];
  const std::size_t count = encode(buffer_.size() - start, groups);
  buffer_.insert(start, groups, count);
}

}  // namespace tulle
