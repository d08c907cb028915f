#include "tulle/base/file_ops.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string_view>
#include <system_error>

namespace tulle {
namespace {

bool is_regular(int directory, const dirent& entry) {
  if (entry.d_type != DT_UNKNOWN) return entry.d_type == DT_REG;
  struct stat status {};
  return ::fstatat(directory, entry.d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(status.st_mode);
}

}  // namespace

int FileOps::openat(int directory, const char* name, int flags, mode_t mode) {
  return ::openat(directory, name, flags, mode);
}
int FileOps::fstat(int file, struct stat* status) { return ::fstat(file, status); }
ssize_t FileOps::pread(int file, void* bytes, std::size_t count, off_t offset) {
  return ::pread(file, bytes, count, offset);
}
ssize_t FileOps::write(int file, const void* bytes, std::size_t count) { return ::write(file, bytes, count); }
// Not posix_fallocate: where it is not supported, glibc imitates it by writing every block.
int FileOps::fallocate(int file, off_t count) { return ::fallocate(file, 0, 0, count); }
int FileOps::fchmod(int file, mode_t mode) { return ::fchmod(file, mode); }
int FileOps::fsync(int file) { return ::fsync(file); }
int FileOps::close(int file) { return ::close(file); }
int FileOps::renameat(int directory, const char* from, const char* to) {
  return ::renameat(directory, from, directory, to);
}
int FileOps::unlinkat(int directory, const char* name) { return ::unlinkat(directory, name, 0); }
int FileOps::mkdir(const char* path) { return ::mkdir(path, 0777); }

int FileOps::lock(int file) {
  struct flock whole_file {};
  whole_file.l_type = F_WRLCK;
  whole_file.l_whence = SEEK_SET;
  return ::fcntl(file, F_OFD_SETLK, &whole_file);
}

int FileOps::list(int directory, std::vector<std::string>* names) {
  const int copy = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);  // closedir() closes it
  if (copy == -1) return -1;
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(copy), ::closedir);
  if (stream == nullptr) {
    ::close(copy);
    return -1;
  }
  errno = 0;
  while (const dirent* entry = ::readdir(stream.get())) {
    if (is_regular(directory, *entry)) names->emplace_back(entry->d_name);
    errno = 0;
  }
  return errno == 0 ? 0 : -1;
}

int FileOps::free_bytes(int directory, std::uint64_t* bytes) {
  struct statvfs status {};
  if (::fstatvfs(directory, &status) == -1) return -1;
  *bytes = static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize;
  return 0;
}

FileOps& real_file_ops() {
  static FileOps files;
  return files;
}

int FileHandle::close() {
  if (file_ < 0) return 0;
  // Linux closes the file even if a signal interrupts the call: a second try could close somebody else's.
  const int result = files_->close(std::exchange(file_, -1));
  return result == -1 && errno == EINTR ? 0 : result;
}

FileHandle open_file(FileOps& files, int directory, const std::string& name, int flags, mode_t mode) {
  const auto open = [&] { return files.openat(directory, name.c_str(), flags | O_CLOEXEC, mode); };
  return FileHandle(files, uninterrupted(open));
}

FileHandle open_for_reading(FileOps& files, const std::string& path, std::uint64_t* size) {
  FileHandle file = open_file(files, AT_FDCWD, path, O_RDONLY | O_NONBLOCK);
  if (!file) throw system_error(errno, path, "open");
  struct stat status {};
  if (uninterrupted([&] { return files.fstat(file.get(), &status); }) == -1)
    throw system_error(errno, path, "open");
  if (!S_ISREG(status.st_mode))
    throw Error(ErrorKind::kBadData, Place{.file = path},
                "found a directory, pipe or device, expected a file");
  *size = static_cast<std::uint64_t>(status.st_size);
  return file;
}

void read_exactly(FileOps& files, const FileHandle& file, const std::string& path, std::uint64_t offset,
                  std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const auto position = static_cast<off_t>(offset);
    const ssize_t count =
        uninterrupted([&] { return files.pread(file.get(), bytes.data(), bytes.size(), position); });
    if (count == -1) throw system_error(errno, path, fmt::format("read from byte {}", offset));
    if (count == 0)
      throw Error(ErrorKind::kBadData, Place{path, position},
                  fmt::format("file size, found {} bytes, expected at least {}; it shrank while it was read",
                              offset, offset + bytes.size()));
    bytes = bytes.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
}

Error write_error(int error_number, const std::string& path, std::string_view operation) {
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
    case ELOOP:
    case ENAMETOOLONG:
      return Error(ErrorKind::kCannotWrite, Place{.file = path},
                   fmt::format("cannot {}: {}", operation, std::generic_category().message(error_number)));
    default:
      return system_error(error_number, path, operation);
  }
}

}  // namespace tulle
