#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "tulle/base/aligned.h"
#include "tulle/base/file_ops.h"

namespace tulle {

/// The bytes of a file: in memory, or in a file without a name where large arrays go to files (base/spill.h).
using Content = AlignedVector<std::byte>;

/// How large a content may be: 8 GiB in memory; in files what their disk holds.
std::uint64_t content_limit();

/// The content of a file, unpacked if it starts with the gzip magic 1f 8b, whatever its name; several gzip
/// members one after another are one content. "-" is standard input.
///
/// Memory  the content, plus the packed file while unpacking; never more than `limit` unpacked bytes.
/// Throws  tulle::Error: kMissingInput, kPermission, kIo, or kBadData for damaged gzip data, content beyond
/// `limit`,
///         and anything that is no regular file of a size known beforehand.
Content read_content(const std::string& path, std::uint64_t limit = content_limit(),
                     FileOps& files = real_file_ops());

/// The same for bytes in memory; `name` stands for the file in messages.
Content unpack(Content bytes, const std::string& name, std::uint64_t limit = content_limit());

/// The content of bare zlib data (RFC 1950), as MATLAB files hold it. Throws tulle::Error (kBadData).
Content unpack_zlib(std::span<const std::byte> bytes, const std::string& name, std::uint64_t limit);

/// CRC-32 and length of these bytes behind those of `before`, which is 0 or such a sum.
std::uint64_t checksum(std::span<const std::byte> bytes, std::uint64_t before);

}  // namespace tulle
