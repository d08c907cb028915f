#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "tulle/base/file_ops.h"

namespace tulle {

/// The content of a file: these bytes one after the other.
using Pieces = std::span<const std::span<const std::byte>>;

/// Makes `path` a file that holds `pieces`, or leaves everything as it was: at every instant, crash and power
/// loss included, `path` is the old file or the complete new one. When it returns, the new file is durable.
///
/// A temporary in the same directory is written, synced and renamed. If `path` is a symbolic link, the link
/// itself is replaced. The caller of a program that sets RLIMIT_FSIZE must ignore SIGXFSZ.
///
/// Throws  Error kCannotWrite (no space, size limit, no such directory), kPermission, kIo. If only the last
/// step,
///         syncing the directory, fails, the new file is in place but may not outlive a power loss.
void write_file_atomically(const std::string& path, Pieces pieces, FileOps& files = real_file_ops());

/// The same for a text.
void write_file_atomically(const std::string& path, std::string_view text, FileOps& files = real_file_ops());

/// A new name for a temporary of this process: ".tmp-<pid>-<random>".
std::string temporary_name();

/// Whether `name` is that of a temporary whose process is gone. A temporary of this process's own number
/// counts as one: in a container every run may have the same number. Hence ask only before the first save.
bool is_abandoned_temporary(std::string_view name);

}  // namespace tulle
