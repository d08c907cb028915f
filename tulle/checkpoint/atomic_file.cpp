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

/// The file to be, under its temporary name; removed unless it was renamed.
class Temporary {
 public:
  Temporary(FileOps& files, const FileHandle& directory, const std::string& path)
      : files_(files),
        directory_(directory.get()),
        path_(path),
        name_(temporary_name()),
        file_(open_file(files, directory_, name_, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600)) {
    if (!file_) throw write_error(errno, path_, "create");
  }
  ~Temporary() {
    if (!renamed_) uninterrupted([&] { return files_.unlinkat(directory_, name_.c_str()); });
  }
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;

  void write(Pieces pieces) {
    reserve(pieces);
    for (const std::span<const std::byte> piece : pieces) write(piece);
    check("write", [&] { return files_.fchmod(file_.get(), default_mode()); });
  }

  /// Durable first, then visible.
  void rename(const std::string& name) {
    check("sync",
          [&] { return files_.fsync(file_.get()); });  // an error is final: the kernel may drop the pages
    if (file_.close() == -1) throw write_error(errno, path_, "close");
    check("rename a temporary to", [&] { return files_.renameat(directory_, name_.c_str(), name.c_str()); });
    renamed_ = true;
  }

 private:
  template <class Call>
  void check(std::string_view operation, Call call) const {
    if (uninterrupted(call) == -1) throw write_error(errno, path_, operation);
  }

  void reserve(Pieces pieces) {
    std::size_t size = 0;
    for (const auto& piece : pieces) size += piece.size();
    if (size == 0) return;
    const auto call = [&] { return files_.fallocate(file_.get(), static_cast<off_t>(size)); };
    if (uninterrupted(call) == 0 || errno == EOPNOTSUPP || errno == ENOSYS) return;
    throw write_error(errno, path_, fmt::format("reserve {} bytes for", size));
  }

  void write(const std::span<const std::byte> piece) {
    std::span<const std::byte> bytes = piece;
    while (!bytes.empty()) {
      const ssize_t count =
          uninterrupted([&] { return files_.write(file_.get(), bytes.data(), bytes.size()); });
      if (count == -1) throw write_error(errno, path_, "write");
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
    release(piece);
  }

  FileOps& files_;
  int directory_;
  const std::string& path_;
  std::string name_;
  FileHandle file_;
  bool renamed_ = false;
};

}  // namespace

void write_file_atomically(const std::string& path, Pieces pieces, FileOps& files) {
  const std::filesystem::path target(path);
  if (!target.has_filename()) throw write_error(EISDIR, path, "write");
  const std::string parent = target.has_parent_path() ? target.parent_path().string() : ".";
  const FileHandle directory = open_file(files, AT_FDCWD, parent, O_RDONLY | O_DIRECTORY);
  if (!directory) throw write_error(errno, path, "open the directory of");

  Temporary temporary(files, directory, path);
  temporary.write(pieces);
  temporary.rename(target.filename().string());
  if (uninterrupted([&] { return files.fsync(directory.get()); }) == -1)
    throw write_error(errno, path, "sync the directory of");
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
