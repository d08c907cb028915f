#include "tulle/data/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>
#include <locale.h>

#include <cerrno>
#include <memory>
#include <new>
#include <set>
#include <stdexcept>

#include "tulle/data/refuse.h"

namespace tulle {
namespace {

bool leads_out(const std::string& name) {
  if (name.starts_with('/') || name.starts_with('\\')) return true;
  for (std::size_t at = 0; at < name.size();) {
    const std::size_t slash = std::min(name.find_first_of("/\\", at), name.size());
    if (name.substr(at, slash - at) == "..") return true;
    at = slash + 1;
  }
  return false;
}

// libarchive gives names in the letters of the locale, and none at all where that lacks one.
class Utf8Locale {
 public:
  Utf8Locale()
      : utf8_(newlocale(LC_CTYPE_MASK, "C.UTF-8", locale_t{})),
        before_(utf8_ == locale_t{} ? locale_t{} : uselocale(utf8_)) {}
  ~Utf8Locale() {
    if (utf8_ == locale_t{}) return;
    uselocale(before_);
    freelocale(utf8_);
  }
  Utf8Locale(const Utf8Locale&) = delete;
  Utf8Locale& operator=(const Utf8Locale&) = delete;

 private:
  locale_t utf8_, before_;  // of this thread alone
};

std::string message_of(archive* reader) {
  const char* const text = archive_error_string(reader);
  return text == nullptr ? "broken data" : text;
}

Content read_member(archive* reader, const std::string& file, const std::string& name, std::uint64_t& left) {
  Content bytes;
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
  const Utf8Locale spelling;
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
    std::string name = path;
    while (name.starts_with("./")) name.erase(0, 2);  // as `tar cf x.tar -C folder .` has them
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

namespace {

// libarchive's callback: what was written is added to the std::string `text`.
la_ssize_t append(archive* writer, void* text, const void* bytes, std::size_t count) {
  try {
    static_cast<std::string*>(text)->append(static_cast<const char*>(bytes), count);
  } catch (const std::bad_alloc&) {
    archive_set_error(writer, ENOMEM, "no memory");
    return -1;
  }
  return static_cast<la_ssize_t>(count);
}

// Only memory can be short: names and sizes are the caller's.
void expect_written(archive* writer, la_ssize_t result) {
  if (result >= 0) return;
  if (archive_errno(writer) == ENOMEM) throw std::bad_alloc();
  throw std::invalid_argument("ZipWriter: " + message_of(writer));
}

}  // namespace

ZipWriter::ZipWriter() : writer_(archive_write_new(), archive_write_free) {
  if (writer_ == nullptr) throw std::bad_alloc();
  archive* const writer = writer_.get();
  archive_write_set_format_zip(writer);
  archive_write_zip_set_compression_store(writer);
  archive_write_set_bytes_in_last_block(writer, 1);  // no padding
  expect_written(writer, archive_write_open(writer, &bytes_, nullptr, append, nullptr));
}

void ZipWriter::add(const std::string& name, std::span<const std::span<const std::byte>> pieces) {
  std::size_t size = 0;
  for (const auto& piece : pieces) size += piece.size();
  const std::unique_ptr<archive_entry, void (*)(archive_entry*)> entry(archive_entry_new(),
                                                                       archive_entry_free);
  if (entry == nullptr) throw std::bad_alloc();
  archive_entry_set_pathname(entry.get(), name.c_str());
  archive_entry_set_filetype(entry.get(), AE_IFREG);
  archive_entry_set_perm(entry.get(), 0644);
  archive_entry_set_size(entry.get(), static_cast<la_int64_t>(size));
  expect_written(writer_.get(), archive_write_header(writer_.get(), entry.get()));
  for (const auto& piece : pieces)
    expect_written(writer_.get(), archive_write_data(writer_.get(), piece.data(), piece.size()));
}

std::string ZipWriter::finish() {
  expect_written(writer_.get(), archive_write_close(writer_.get()));
  return std::move(bytes_);
}

}  // namespace tulle
