#pragma once

#include <atomic>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "tulle/base/clock.h"
#include "tulle/checkpoint/model_file.h"
#include "tulle/train/config.h"
#include "tulle/train/train.h"

namespace tulle {

/// Whether checkpoints of a network of so many connections are written while the training goes on, where
/// memory allows: checkpoint.background, or for "auto" where a copy is worth a thread.
bool writes_meanwhile(const Config::Checkpoint& config, std::int64_t connections);

/// At most one file that another thread writes while the training goes on.
class BackgroundSave {
 public:
  struct Done {
    std::string path;
    std::int64_t step = 0;   // at which the snapshot was taken
    std::int64_t bytes = 0;  // of the file
    double seconds = 0.0;    // that the training waited for the copy
  };

  bool running() const { return thread_.joinable(); }
  /// Only if none is running. `files` must outlive the writing.
  void start(Snapshot snapshot, const Done& of, FileOps& files);
  /// What was written, if it is: the last call for it. `wait`: until it is. Throws what the writing threw.
  std::optional<Done> finished(bool wait);

 private:
  Done done_;
  std::exception_ptr error_;
  std::atomic<bool> over_{false};
  std::jthread thread_;  // last: joined before the rest goes
};

/// Writes the checkpoints of one training into its run directory, of large networks from a copy while the
/// training goes on, and lets go of old ones.
class CheckpointWriter {
 public:
  /// All must outlive it; `told` hears of every file once it is there.
  CheckpointWriter(Run& run, RunDirectory& directory, std::function<void(const CheckpointRecord&)> told)
      : run_(run), directory_(directory), told_(std::move(told)) {}

  /// The run as it is now. Throws tulle::Error if it, or the one before, cannot be written.
  void save();
  /// The same, where `write` makes the file at a path and tells its size, or nothing if it made none.
  /// Returns whether there is one.
  bool save(const std::function<std::optional<std::int64_t>(const std::string& path)>& write);
  /// Tells of the checkpoint that was written meanwhile, if it is; `wait`: until it is. Throws what the
  /// writing threw.
  void settle(bool wait);
  /// Since the last checkpoint, or the start.
  double seconds_since() const { return since_save_.seconds(); }

 private:
  bool saves_in_background() const;
  void tell(const BackgroundSave::Done& done);

  Run& run_;
  RunDirectory& directory_;
  std::function<void(const CheckpointRecord&)> told_;
  BackgroundSave save_;
  Clock since_save_;
};

}  // namespace tulle
