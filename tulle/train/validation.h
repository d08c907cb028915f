#pragma once

#include <optional>

#include "tulle/train/train.h"

namespace tulle {

/// What the validation data decide while a training goes on: which epoch's model is the result, and where the
/// schedule `plateau` lowers the rate. All that has to survive a resume is in run.state.validation and, with
/// a run directory, in its file best-EPOCH.safetensors.
class BestModel {
 public:
  /// directory null: the best model is kept in memory, which takes the network's size. Of a run that goes on
  /// from a checkpoint whose best model is gone, the best is that of the epochs to come.
  BestModel(RunDirectory* directory, Run& run);

  /// After epoch run.state.epoch + 1, before its topology event. A loss that is no number is worse than all.
  /// Throws tulle::Error if the model cannot be
  /// saved.
  void judge(const Evaluation& valid, Run& run);

  /// Makes the best epoch's network that of the run, if validation data chose another than the last, or the
  /// topology has `changed` since that was judged. Throws tulle::Error (kMissingInput) if its file is gone.
  void restore(Run& run, bool changed);

 private:
  std::string path(std::int64_t epoch) const;

  RunDirectory* directory_;
  std::optional<Network> network_;
};

/// Whether train.early_stopping ends the training after `epochs` of them: so many without a lower validation
/// loss.
bool patience_is_over(const Run& run, std::int64_t epochs);

}  // namespace tulle
