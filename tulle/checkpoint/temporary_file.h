#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "tulle/base/file_ops.h"

namespace tulle {

/// A file to be, under a temporary name in its directory; removed unless it was renamed. Throws tulle::Error
/// as write_file_atomically().
class TemporaryFile {
 public:
  /// `files` must outlive it.
  TemporaryFile(const std::string& path, FileOps& files);
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  /// Its path until it is renamed.
  std::string name() const;
  /// Makes sure that so many bytes fit, where the file system can.
  void reserve(std::uint64_t size);
  void write(std::span<const std::byte> bytes);
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes);
  /// Durable first, then visible; durably so.
  void rename();

 private:
  template <class Call>
  void check(std::string_view operation, Call call) const;

  FileOps& files_;
  std::string path_, parent_, name_;
  FileHandle directory_, file_;
  bool renamed_ = false;
};

/// All of `bytes`, where the file stands or from `offset` on; `path` stands for it in messages.
void write_all(FileOps& files, const FileHandle& file, const std::string& path,
               std::span<const std::byte> bytes);
void write_all_at(FileOps& files, const FileHandle& file, const std::string& path, std::uint64_t offset,
                  std::span<const std::byte> bytes);

}  // namespace tulle
