#include "tulle/checkpoint/integrity.h"

#include <fmt/format.h>
#include <xxhash.h>
#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <new>

#include "tulle/base/spill.h"

namespace tulle {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian and written as memory is");

constexpr std::array<std::uint32_t, 256> kCrcOfByte = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78u : 0u);
    table[byte] = crc;
  }
  return table;
}();

class RunningDigest {
 public:
  RunningDigest() : state_(XXH3_createState(), XXH3_freeState) {
    if (state_ == nullptr) throw std::bad_alloc();
    XXH3_128bits_reset(state_.get());
  }
  void add(std::span<const std::byte> bytes) {
    XXH3_128bits_update(state_.get(), bytes.data(), bytes.size());
  }
  Digest end() const {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state_.get()));
    return std::bit_cast<Digest>(canonical);
  }

 private:
  std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state_;
};

}  // namespace

namespace detail {

std::uint32_t crc32c_by_table(std::span<const std::byte> bytes, std::uint32_t crc) {
  crc = ~crc;
  for (const std::byte byte : bytes)
    crc = (crc >> 8) ^ kCrcOfByte[(crc ^ static_cast<std::uint32_t>(byte)) & 0xff];
  return ~crc;
}

#if defined(__x86_64__)
bool has_crc32c_instruction() { return __builtin_cpu_supports("sse4.2"); }

__attribute__((target("sse4.2"))) std::uint32_t crc32c_by_instruction(std::span<const std::byte> bytes,
                                                                      std::uint32_t crc) {
  std::uint64_t wide = ~crc;
  for (; bytes.size() >= 8; bytes = bytes.subspan(8)) {
    std::uint64_t word;
    std::memcpy(&word, bytes.data(), 8);
    wide = _mm_crc32_u64(wide, word);
  }
  crc = static_cast<std::uint32_t>(wide);
  for (const std::byte byte : bytes) crc = _mm_crc32_u8(crc, static_cast<unsigned char>(byte));
  return ~crc;
}
#else
bool has_crc32c_instruction() { return false; }
std::uint32_t crc32c_by_instruction(std::span<const std::byte> bytes, std::uint32_t crc) {
  return crc32c_by_table(bytes, crc);
}
#endif

}  // namespace detail

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t crc) {
  static const bool instruction = detail::has_crc32c_instruction();
  return instruction ? detail::crc32c_by_instruction(bytes, crc) : detail::crc32c_by_table(bytes, crc);
}

std::vector<std::byte> crc_table(Pieces pieces) {
  std::vector<std::byte> table;
  std::uint32_t crc = 0;
  std::uint64_t in_block = 0;
  const auto end_block = [&] {
    const auto crc_bytes = std::as_bytes(std::span(&crc, 1));
    table.insert(table.end(), crc_bytes.begin(), crc_bytes.end());
    crc = 0;
    in_block = 0;
  };
  for (const std::span<const std::byte> whole : pieces) {
    std::span<const std::byte> piece = whole;
    while (!piece.empty()) {
      const std::size_t count = std::min<std::uint64_t>(piece.size(), kCrcBlock - in_block);
      crc = crc32c(piece.first(count), crc);
      in_block += count;
      piece = piece.subspan(count);
      if (in_block == kCrcBlock) end_block();
    }
    release(whole);
  }
  if (in_block > 0) end_block();
  return table;
}

std::uint64_t content_hash(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

Digest xxh3_digest(Pieces pieces) {
  RunningDigest digest;
  for (const auto& piece : pieces) {
    digest.add(piece);
    release(piece);
  }
  return digest.end();
}

std::string file_hash(const std::string& path) {
  FileOps& files = real_file_ops();
  std::uint64_t size = 0;
  const FileHandle file = open_for_reading(files, path, &size);
  RunningDigest digest;
  std::vector<std::byte> block(std::size_t{1} << 20);
  for (std::uint64_t at = 0; at < size; at += block.size()) {
    const auto part = std::span(block).first(std::min<std::uint64_t>(block.size(), size - at));
    read_exactly(files, file, path, at, part);
    digest.add(part);
  }
  std::string digits;
  for (const std::byte byte : digest.end()) digits += fmt::format("{:02x}", static_cast<unsigned>(byte));
  return digits;
}

}  // namespace tulle
