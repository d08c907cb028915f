#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tulle/base/error.h"

namespace tulle {

/// The system calls that saving and loading are made of. Tests override some of them to record or to fail.
/// Each returns what the system call returns: -1 on failure, with the reason in errno.
class FileOps {
 public:
  virtual ~FileOps() = default;

  virtual int openat(int directory, const char* name, int flags, mode_t mode = 0);
  virtual int fstat(int file, struct stat* status);
  virtual ssize_t pread(int file, void* bytes, std::size_t count, off_t offset);
  virtual ssize_t write(int file, const void* bytes, std::size_t count);
  /// Reserves space for the first `count` bytes of the file.
  virtual int fallocate(int file, off_t count);
  virtual int fchmod(int file, mode_t mode);
  virtual int fsync(int file);
  virtual int close(int file);
  virtual int renameat(int directory, const char* from, const char* to);
  virtual int unlinkat(int directory, const char* name);
  virtual int mkdir(const char* path);
  /// Takes an exclusive advisory lock that ends with the open file; EAGAIN if another has it.
  virtual int lock(int file);
  /// Names of the regular files in a directory, in no order; links, pipes and devices are left out.
  virtual int list(int directory, std::vector<std::string>* names);
  /// Bytes that an ordinary user may still write to the file system of `directory`.
  virtual int free_bytes(int directory, std::uint64_t* bytes);
};

FileOps& real_file_ops();

/// Makes a system call, and again while a signal interrupts it.
template <class Call>
auto uninterrupted(Call call) {
  auto result = call();
  while (result == -1 && errno == EINTR) result = call();
  return result;
}

/// An open file or directory that closes itself.
class FileHandle {
 public:
  FileHandle(FileOps& files, int file) : files_(&files), file_(file) {}
  FileHandle(FileHandle&& other) noexcept : files_(other.files_), file_(std::exchange(other.file_, -1)) {}
  FileHandle& operator=(FileHandle&& other) noexcept {
    std::swap(files_, other.files_);
    std::swap(file_, other.file_);
    return *this;
  }
  ~FileHandle() { close(); }

  int get() const { return file_; }
  explicit operator bool() const { return file_ >= 0; }
  /// The result of close(2); 0 if the file is closed already.
  int close();

 private:
  FileOps* files_;
  int file_;
};

/// Opens `name` relative to `directory` (AT_FDCWD: the working directory), never inherited by child programs.
/// Empty on failure, with the reason in errno.
FileHandle open_file(FileOps& files, int directory, const std::string& name, int flags, mode_t mode = 0);

/// Opens a regular file for reading and tells its size. Throws Error: missing, not allowed, or kBadData for a
/// directory, pipe or device (it never waits for one).
FileHandle open_for_reading(FileOps& files, const std::string& path, std::uint64_t* size);

/// Fills `bytes` from `offset`. Throws Error: kIo, or kBadData if the file ends earlier.
void read_exactly(FileOps& files, const FileHandle& file, const std::string& path, std::uint64_t offset,
                  std::span<std::byte> bytes);

/// As system_error(), but for output: a directory that is missing or a name that cannot be is kCannotWrite.
Error write_error(int error_number, const std::string& path, std::string_view operation);

}  // namespace tulle
