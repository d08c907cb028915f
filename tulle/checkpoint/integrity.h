#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tulle/checkpoint/atomic_file.h"

namespace tulle {

// Checks against accidents, not signatures: anyone can compute them.

/// CRC-32C of `bytes`, or of what `crc` was computed from followed by `bytes`.
/// Source: Castagnoli 1993, doi:10.1109/26.231911; the CRC of iSCSI, RFC 3720.
std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t crc = 0);

/// CRCs are taken over blocks of this many bytes, from the first byte of the file.
constexpr std::uint64_t kCrcBlock = 1 << 20;

/// Bytes of the table of CRCs of a file of `bytes`.
constexpr std::uint64_t crc_table_bytes(std::uint64_t bytes) {
  return (bytes / kCrcBlock + (bytes % kCrcBlock != 0)) * 4;
}

/// The CRC-32C of every block of the file made of `pieces`, 4 bytes each, little-endian.
std::vector<std::byte> crc_table(Pieces pieces);

/// XXH3-64 of `bytes`.
std::uint64_t content_hash(std::span<const std::byte> bytes);

using Digest = std::array<std::byte, 16>;

/// XXH3-128 of the file made of `pieces`, in the canonical order of bytes: the one `xxh128sum` prints.
Digest xxh3_digest(Pieces pieces);

/// The same of a file, in 32 hex digits. Memory: a mebibyte. Throws tulle::Error if it cannot be read.
std::string file_hash(const std::string& path);

namespace detail {
/// The two ways of crc32c(), which chooses one; the second needs a CPU with SSE4.2.
std::uint32_t crc32c_by_table(std::span<const std::byte> bytes, std::uint32_t crc);
std::uint32_t crc32c_by_instruction(std::span<const std::byte> bytes, std::uint32_t crc);
bool has_crc32c_instruction();
}  // namespace detail

}  // namespace tulle
