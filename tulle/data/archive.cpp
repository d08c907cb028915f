#include "tulle/data/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include <memory>
#include <new>
#include <set>

#include "tulle/base/error.h"

namespace tulle {
namespace {

[[noreturn]] void refuse(const std::string& file, std::string_view what, std::string_view found,
                         std::string_view expected) {
  throw Error(ErrorKind::kBadData, {.file = file},
              fmt::format("{}, found {}, expected {}", what, found, expected));
}

bool leads_out(const std::string& name) {
  if (name.starts_with('/') || name.starts_with('\\')) return true;
  for (std::size_t at = 0; at < name.size();) {
    const std::size_t slash = std::min(name.find_first_of("/\\", at), name.size());
    if (name.substr(at, slash - at) == "..") return true;
    at = slash + 1;
  }
  return false;
}

std::string message_of(archive* reader) {
  const char* const text = archive_error_string(reader);
  return text == nullptr ? "broken data" : text;
}

std::vector<std::byte> read_member(archive* reader, const std::string& file, const std::string& name,
                                   std::uint64_t& left) {
  std::vector<std::byte> bytes;
  std::byte piece[1 << 16];
  while (true) {
    const la_ssize_t got = archive_read_data(reader, piece, sizeof piece);
    if (got < 0) refuse(file, fmt::format("archive member '{}'", name), message_of(reader), "whole data");
    if (got == 0) return bytes;
    if (static_cast<std::uint64_t>(got) > left)
      refuse(file, "archive", "more unpacked bytes than allowed", "fewer");
    left -= static_cast<std::uint64_t>(got);
    bytes.insert(bytes.end(), piece, piece + got);
  }
}

}  // namespace

void for_members(std::span<const std::byte> bytes, const std::string& file, std::uint64_t limit,
                 const std::function<bool(const std::string& name)>& wanted,
                 const std::function<void(Member)>& visit) {
  const std::unique_ptr<archive, int (*)(archive*)> reader(archive_read_new(), archive_read_free);
  if (reader == nullptr) throw std::bad_alloc();
  archive_read_support_format_tar(reader.get());
  archive_read_support_format_zip(reader.get());
  if (archive_read_open_memory(reader.get(), bytes.data(), bytes.size()) != ARCHIVE_OK)
    refuse(file, "archive", message_of(reader.get()), "tar or zip");
  std::set<std::string> seen;
  std::uint64_t left = limit;
  while (true) {
    archive_entry* entry = nullptr;
    const int status = archive_read_next_header(reader.get(), &entry);
    if (status == ARCHIVE_EOF) return;
    if (status != ARCHIVE_OK && status != ARCHIVE_WARN)
      refuse(file, "archive", message_of(reader.get()), "whole members");
    const char* const path = archive_entry_pathname(entry);
    if (path == nullptr) refuse(file, "archive member", "no name", "one");
    const std::string name = path;
    if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry) != nullptr) continue;
    if (archive_entry_is_encrypted(entry) == 1)
      refuse(file, fmt::format("archive member '{}'", name), "an encrypted one", "a plain one");
    if (leads_out(name))
      refuse(file, "archive member", fmt::format("'{}'", name), "a name below the archive");
    if (!wanted(name)) continue;
    if (!seen.insert(name).second)
      refuse(file, fmt::format("archive member '{}'", name), "it twice", "it once");
    visit({name, read_member(reader.get(), file, name, left)});
  }
}

}  // namespace tulle
