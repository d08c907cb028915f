#pragma once

#include <atomic>
#include <exception>
#include <optional>
#include <string>
#include <thread>

#include "tulle/checkpoint/model_file.h"
#include "tulle/train/config.h"

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

}  // namespace tulle
