#pragma once

// For tests only: file operations that fail or that are written down, directories that vanish, seeds.

#include <fcntl.h>
#include <stdlib.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "tulle/base/file_ops.h"

namespace tulle::testing {

/// A new empty directory, removed with all that is in it.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "tulle-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::filesystem::filesystem_error(name, {});
    path_ = name;
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  std::string path() const { return path_.string(); }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path_))
      names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }

 private:
  std::filesystem::path path_;
};

inline std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

/// TULLE_TEST_SEED, or a new seed; printed so that a failure can be repeated.
inline std::uint32_t test_seed() {
  const char* const given = std::getenv("TULLE_TEST_SEED");
  const auto seed =
      given ? static_cast<std::uint32_t>(std::strtoul(given, nullptr, 10)) : std::random_device{}();
  std::cout << "TULLE_TEST_SEED=" << seed << "\n";
  return seed;
}

/// Lets one call fail, the `call`-th from 1, or all from then on.
class FailingFileOps : public FileOps {
 public:
  static constexpr int kShortCount = 0;  // instead of an error: reading and writing move one byte only

  FailingFileOps(int call, int error_number, bool from_then_on = false)
      : call_(call), error_(error_number), from_then_on_(from_then_on) {}

  /// Whether there were enough calls for one to fail.
  bool reached() const { return calls_ >= call_; }

  int openat(int directory, const char* name, int flags, mode_t mode) override {
    return fails() ? -1 : FileOps::openat(directory, name, flags, mode);
  }
  int fstat(int file, struct stat* status) override { return fails() ? -1 : FileOps::fstat(file, status); }
  ssize_t pread(int file, void* bytes, std::size_t count, off_t offset) override {
    return fails() ? -1 : FileOps::pread(file, bytes, short_ ? 1 : count, offset);
  }
  ssize_t write(int file, const void* bytes, std::size_t count) override {
    return fails() ? -1 : FileOps::write(file, bytes, short_ ? 1 : count);
  }
  int fallocate(int file, off_t count) override { return fails() ? -1 : FileOps::fallocate(file, count); }
  int fchmod(int file, mode_t mode) override { return fails() ? -1 : FileOps::fchmod(file, mode); }
  int fsync(int file) override { return fails() ? -1 : FileOps::fsync(file); }
  int close(int file) override {  // closes in any case, as Linux does
    const int result = FileOps::close(file);
    return fails() ? -1 : result;
  }
  int renameat(int directory, const char* from, const char* to) override {
    return fails() ? -1 : FileOps::renameat(directory, from, to);
  }
  int unlinkat(int directory, const char* name) override {
    return fails() ? -1 : FileOps::unlinkat(directory, name);
  }
  int mkdir(const char* path) override { return fails() ? -1 : FileOps::mkdir(path); }
  int lock(int file) override { return fails() ? -1 : FileOps::lock(file); }
  int list(int directory, std::vector<std::string>* names) override {
    return fails() ? -1 : FileOps::list(directory, names);
  }
  int free_bytes(int directory, std::uint64_t* bytes) override {
    return fails() ? -1 : FileOps::free_bytes(directory, bytes);
  }

 private:
  bool fails() {
    ++calls_;
    const bool now = calls_ == call_ || (from_then_on_ && calls_ > call_);
    short_ = now && error_ == kShortCount;
    if (now) errno = error_;
    return now && !short_;
  }

  int call_;
  int error_;
  bool from_then_on_;
  int calls_ = 0;
  bool short_ = false;
};

/// One step of what happened in a directory.
struct FileEvent {
  enum Kind { kCreate, kReserve, kWrite, kSyncFile, kRename, kUnlink, kSyncDirectory, kCompleted };
  Kind kind;
  int file = -1;           // a number for each file created
  std::string name{};      // created, unlinked, or renamed to
  std::string from{};      // renamed from
  std::size_t offset = 0;  // written at; reserved up to
  std::string bytes{};
  std::int64_t step = -1;  // the save that was completed
};

/// Does everything and writes down what matters after a power loss. Single directory. Can forget to sync.
class RecordingFileOps : public FileOps {
 public:
  struct Broken {
    bool file_sync = false;
    bool directory_sync = false;
  };
  RecordingFileOps() = default;
  explicit RecordingFileOps(Broken broken) : broken_(broken) {}

  const std::vector<FileEvent>& events() const { return events_; }
  /// The caller was told that this save is complete.
  void completed(std::int64_t step) { events_.push_back({.kind = FileEvent::kCompleted, .step = step}); }

  int openat(int directory, const char* name, int flags, mode_t mode) override {
    const int file = FileOps::openat(directory, name, flags, mode);
    if (file >= 0 && (flags & O_EXCL)) {
      open_[file] = {.number = next_++};
      events_.push_back({.kind = FileEvent::kCreate, .file = open_[file].number, .name = name});
    }
    return file;
  }
  ssize_t write(int file, const void* bytes, std::size_t count) override {
    const ssize_t written = FileOps::write(file, bytes, count);
    OpenFile& open = open_.at(file);
    events_.push_back(
        {.kind = FileEvent::kWrite,
         .file = open.number,
         .offset = open.size,
         .bytes = std::string(static_cast<const char*>(bytes), static_cast<std::size_t>(written))});
    open.size += static_cast<std::size_t>(written);
    return written;
  }
  int fallocate(int file, off_t count) override {
    const auto size = static_cast<std::size_t>(count);
    events_.push_back({.kind = FileEvent::kReserve, .file = open_.at(file).number, .offset = size});
    return FileOps::fallocate(file, count);
  }
  int fsync(int file) override {
    const auto open = open_.find(file);
    if (open == open_.end()) {
      if (!broken_.directory_sync) events_.push_back({.kind = FileEvent::kSyncDirectory});
    } else if (!broken_.file_sync) {
      events_.push_back({.kind = FileEvent::kSyncFile, .file = open->second.number});
    }
    return FileOps::fsync(file);
  }
  int close(int file) override {
    open_.erase(file);
    return FileOps::close(file);
  }
  int renameat(int directory, const char* from, const char* to) override {
    events_.push_back({.kind = FileEvent::kRename, .name = to, .from = from});
    return FileOps::renameat(directory, from, to);
  }
  int unlinkat(int directory, const char* name) override {
    events_.push_back({.kind = FileEvent::kUnlink, .name = name});
    return FileOps::unlinkat(directory, name);
  }

 private:
  struct OpenFile {
    int number = -1;
    std::size_t size = 0;
  };
  Broken broken_;
  int next_ = 0;
  std::map<int, OpenFile> open_;  // created and not yet closed, by descriptor
  std::vector<FileEvent> events_;
};

}  // namespace tulle::testing
