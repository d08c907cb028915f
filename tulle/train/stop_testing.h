#pragma once

// For tests only: a training that was stopped in the middle.

#include <string>
#include <vector>

#include "tulle/train/train_testing.h"

namespace tulle::testing {

/// Trains until the second batch of the second epoch, saving after each step. Returns the newest checkpoint
/// in `folder`.
inline std::string stopped_in_the_middle(Config config, const Dataset& data, const std::string& folder) {
  RunDirectory directory = RunDirectory::open(folder, hasty_file_ops());
  config.checkpoint.save_every = "1 step";
  tulle::Run run = start_run(config, data);
  Signals signals;
  Diary diary;
  diary.at_batch = [&](const Observer::Batch& batch) { signals.stop = batch.epoch == 2 && batch.batch == 2; };
  train(run, data, &directory, diary, signals);
  std::vector<std::string> skipped;
  return *newest_checkpoint(directory.path(), skipped);
}

}  // namespace tulle::testing
