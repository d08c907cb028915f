#include "tulle/checkpoint/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <charconv>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <random>

#include "tulle/base/spill.h"
#include "tulle/checkpoint/temporary_file.h"

namespace tulle {
namespace {

constexpr std::string_view kTemporaryPrefix = ".tmp-";

/// The mode an ordinary new file gets. Asking umask(2) would change it for all threads for a moment.
mode_t default_mode() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    unsigned mask = 0;
    if (word == "Umask:" && status >> std::oct >> mask) return 0666 & ~mask;
  }
  return 0600;
}

}  // namespace

TemporaryFile::TemporaryFile(const std::string& path, FileOps& files)
    : files_(files), path_(path), directory_(files, -1), file_(files, -1) {
  const std::filesystem::path target(path);
  if (!target.has_filename()) throw write_error(EISDIR, path, "write");
  // A rename would put an ordinary file in the place of a device or a pipe.
  std::error_code unknown;
  if (const auto kind = std::filesystem::status(target, unknown).type();
      kind != std::filesystem::file_type::regular && kind != std::filesystem::file_type::directory &&
      kind != std::filesystem::file_type::not_found && kind != std::filesystem::file_type::none)
    throw Error(ErrorKind::kCannotWrite, {.file = path},
                "found a device, pipe or socket, expected a file or none");
  parent_ = target.has_parent_path() ? target.parent_path().string() : ".";
  directory_ = open_file(files, AT_FDCWD, parent_, O_RDONLY | O_DIRECTORY);
  if (!directory_) throw write_error(errno, path, "open the directory of");
  name_ = temporary_name();
  file_ = open_file(files, directory_.get(), name_, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  if (!file_) throw write_error(errno, path, "create");
}

TemporaryFile::~TemporaryFile() {
  if (!renamed_) uninterrupted([&] { return files_.unlinkat(directory_.get(), name_.c_str()); });
}

std::string TemporaryFile::name() const { return (std::filesystem::absolute(parent_) / name_).string(); }

void TemporaryFile::reserve(std::uint64_t size) {
  if (size == 0) return;
  const auto call = [&] { return files_.fallocate(file_.get(), static_cast<off_t>(size)); };
  if (uninterrupted(call) == 0 || errno == EOPNOTSUPP || errno == ENOSYS) return;
  throw write_error(errno, path_, fmt::format("reserve {} bytes for", size));
}

void TemporaryFile::write(std::span<const std::byte> bytes) { write_all(files_, file_, path_, bytes); }

void TemporaryFile::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  write_all_at(files_, file_, path_, offset, bytes);
}

void TemporaryFile::rename() {
  check("write", [&] { return files_.fchmod(file_.get(), default_mode()); });
  check("sync",
        [&] { return files_.fsync(file_.get()); });  // an error is final: the kernel may drop the pages
  if (file_.close() == -1) throw write_error(errno, path_, "close");
  const std::string target = std::filesystem::path(path_).filename().string();
  check("rename a temporary to",
        [&] { return files_.renameat(directory_.get(), name_.c_str(), target.c_str()); });
  renamed_ = true;
  check("sync the directory of", [&] { return files_.fsync(directory_.get()); });
}

template <class Call>
void TemporaryFile::check(std::string_view operation, Call call) const {
  if (uninterrupted(call) == -1) throw write_error(errno, path_, operation);
}

void write_all(FileOps& files, const FileHandle& file, const std::string& path,
               std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = uninterrupted([&] { return files.write(file.get(), bytes.data(), bytes.size()); });
    if (count == -1) throw write_error(errno, path, "write");
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

void write_all_at(FileOps& files, const FileHandle& file, const std::string& path, std::uint64_t offset,
                  std::span<const std::byte> bytes) {
  if (::lseek(file.get(), static_cast<off_t>(offset), SEEK_SET) == -1)
    throw write_error(errno, path, "seek in");
  write_all(files, file, path, bytes);
}

void write_file_atomically(const std::string& path, Pieces pieces, FileOps& files) {
  TemporaryFile temporary(path, files);
  std::uint64_t size = 0;
  for (const auto& piece : pieces) size += piece.size();
  temporary.reserve(size);
  for (const std::span<const std::byte> piece : pieces) {
    temporary.write(piece);
    release(piece);
  }
  temporary.rename();
}

std::string temporary_name() {
  std::random_device random;
  return fmt::format("{}{}-{:08x}{:08x}", kTemporaryPrefix, ::getpid(), random(), random());
}

bool is_abandoned_temporary(std::string_view name) {
  if (!name.starts_with(kTemporaryPrefix)) return false;
  name.remove_prefix(kTemporaryPrefix.size());
  pid_t owner = 0;
  const auto [rest, error] = std::from_chars(name.data(), name.data() + name.size(), owner);
  if (error != std::errc() || owner <= 0 || rest == name.data() + name.size() || *rest != '-') return false;
  return owner == ::getpid() || (::kill(owner, 0) == -1 && errno == ESRCH);
}

void write_file_atomically(const std::string& path, std::string_view text, FileOps& files) {
  const std::span<const std::byte> piece = std::as_bytes(std::span(text));
  write_file_atomically(path, Pieces(&piece, 1), files);
}

}  // namespace tulle
