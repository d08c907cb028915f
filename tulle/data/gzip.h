#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tulle/base/file_ops.h"

namespace tulle {

constexpr std::uint64_t kMaxUnpackedBytes = std::uint64_t{8} << 30;

/// The content of a file, unpacked if it starts with the gzip magic 1f 8b, whatever its name; several gzip
/// members one after another are one content. "-" is standard input.
///
/// Memory  the content, plus the packed file while unpacking; never more than `limit` unpacked bytes.
/// Throws  tulle::Error: kMissingInput, kPermission, kIo, or kBadData for damaged gzip data, content beyond
/// `limit`,
///         and anything that is no regular file of a size known beforehand.
std::vector<std::byte> read_content(const std::string& path, std::uint64_t limit = kMaxUnpackedBytes,
                                    FileOps& files = real_file_ops());

/// The same for bytes in memory; `name` stands for the file in messages.
std::vector<std::byte> unpack(std::vector<std::byte> bytes, const std::string& name,
                              std::uint64_t limit = kMaxUnpackedBytes);

/// The content of bare zlib data (RFC 1950), as MATLAB files hold it. Throws tulle::Error (kBadData).
std::vector<std::byte> unpack_zlib(std::span<const std::byte> bytes, const std::string& name,
                                   std::uint64_t limit);

}  // namespace tulle
