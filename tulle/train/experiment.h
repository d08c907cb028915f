#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tulle/report/memory.h"
#include "tulle/report/result.h"
#include "tulle/train/train.h"

namespace tulle {

/// Where a training starts from: a checkpoint, or "" for its beginning. A folder that is resumed is claimed
/// before one of its checkpoints is chosen: another training would delete it.
struct Start {
  std::string checkpoint;
  std::optional<RunDirectory> claimed;
};

/// From what a run goes on: `resume` is a checkpoint file, the run directory, or "auto", which starts anew
/// where there is none. Checkpoints that do not load are reported to `skipped`. Throws tulle::Error:
/// kMissingInput if there is none, kBadData if none loads, and as RunDirectory::open().
Start find_start(const std::string& resume, const Config& config, std::vector<std::string>& skipped);

/// RUN.OUT/RUN.NAME
std::string run_directory_of(const Config& config);

/// A training with everything that it leaves in its run directory: config.toml, metrics.jsonl, checkpoints,
/// and at the end model.safetensors and report.html. The command line and Python run this.
class Experiment {
 public:
  /// Checks that the plan fits the memory, builds the network, or this rank's part of it, or loads the
  /// checkpoint, and on rank 0 claims the run directory. Config and data must outlive it. Throws tulle::Error
  /// as check_plan(), start_run(), resume_run() and RunDirectory::open() do; kConfig if there are checkpoints
  /// and none is resumed.
  Experiment(const Config& config, const Dataset& data, Start start, const Share& share = {});

  Run& run() { return run_; }
  const std::string& path() const { return path_; }

  /// As tulle::train(); null: no other ranks.
  Ending train(Observer& observer, Signals& signals, Communicator* ranks = nullptr);

  /// Of a training that was stopped: how the program that ran it ends.
  void record_stop(int exit_code);
  /// Of a finished one: writes the model, then evaluates it, lets `dense` tell what the dense network of the
  /// same shape costs (its argument: steps of this training; null: nothing is compared), and writes the
  /// records and the report.
  ResultRecord finish(const std::function<std::optional<Outcome>(std::int64_t)>& dense = nullptr);
  std::string model_path() const { return path_ + "/model.safetensors"; }
  /// On the test data, after finish(); Outcome::kUnknown without any.
  double accuracy() const { return outcome_.accuracy; }

 private:
  void prepare_directory(bool anew);

  const Config& config_;
  const Dataset& data_;
  std::string path_;
  MemoryGrowth memory_;  // beyond the data; stands before the network
  Run run_;
  std::optional<RunDirectory> directory_;
  Outcome outcome_;
};

}  // namespace tulle
