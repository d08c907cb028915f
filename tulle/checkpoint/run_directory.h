#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tulle/base/file_ops.h"

namespace tulle {

struct CheckpointFile {
  std::int64_t step = 0;
  std::string path;
};

/// The checkpoints in a directory, newest (highest step) first: the order in which resuming tries them.
/// Regular files with the exact names that RunDirectory gives; anything else is ignored.
std::vector<CheckpointFile> list_checkpoints(const std::string& directory, FileOps& files = real_file_ops());

/// The directory of one training run. While the object lives, no other training can use the directory.
class RunDirectory {
 public:
  /// Creates the directory if needed, claims it (file ".claim"), and removes temporaries of dead processes.
  /// Throws tulle::Error: kPermission (not writable), kCannotWrite (cannot be created), kTemporary (another
  /// training uses it), kIo.
  static RunDirectory open(const std::string& path, FileOps& files = real_file_ops());

  /// Throws tulle::Error (kCannotWrite) unless two checkpoints of that size fit.
  void check_space(std::uint64_t checkpoint_bytes) const;

  const std::string& path() const { return path_; }
  /// What its checkpoints are to be written with.
  FileOps& files() const { return *files_; }

  /// PATH/ckpt-<step, at least 6 digits>.safetensors
  std::string checkpoint_path(std::int64_t step) const;

  /// Newest first.
  std::vector<CheckpointFile> checkpoints() const { return list_checkpoints(path_, *files_); }

  /// Deletes checkpoints older than `saved_step` so that `keep` (at least 2) remain of it and the older ones,
  /// besides those whose steps are in `protect`. Call it only when the save of `saved_step` is complete.
  /// Checkpoints of later steps (damaged ones that resuming skipped, say) neither count nor are deleted.
  void prune(std::int64_t saved_step, int keep, std::span<const std::int64_t> protect = {}) const;

 private:
  RunDirectory(FileOps& files, std::string path, FileHandle directory, FileHandle claim)
      : files_(&files), path_(std::move(path)), directory_(std::move(directory)), claim_(std::move(claim)) {}

  FileOps* files_;
  std::string path_;
  FileHandle directory_;
  FileHandle claim_;  // holds the lock
};

}  // namespace tulle
