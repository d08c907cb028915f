#pragma once

#include <optional>
#include <span>

#include "tulle/report/input_links.h"
#include "tulle/report/metrics.h"
#include "tulle/report/tensorboard.h"
#include "tulle/train/train.h"

namespace tulle {

/// Where the records of a training go: the observer, and metrics.jsonl, inputs.jsonl and TensorBoard's file
/// of its run directory where there is one.
class Journal {
 public:
  /// All outlive it. Opened where the run stands: what lies beyond is cut off. directory null: the observer
  /// alone. Throws tulle::Error of system_error's kinds.
  Journal(const Run& run, RunDirectory* directory, Observer& observer);

  /// For the files alone.
  template <class Record>
  void write(const Record& record) {
    if (metrics_) metrics_->write(record);
  }
  void tell(const EvolveRecord& record);
  void tell(const ImportanceRecord& record);
  void tell(const CheckpointRecord& record);
  /// Of an epoch, and of its ranks if there were any. `histograms`: of weights too. False if the observer
  /// wants no other.
  bool tell(const EpochRecord& record, const std::optional<ParallelRecord>& parallel, bool histograms);

  /// Whether events are asked what the inputs keep.
  bool has_input_links() const { return input_links_.has_value(); }
  void write_input_links(std::span<const LayerEvolution> events);
  bool has_tensorboard() const { return tensorboard_.has_value(); }

 private:
  const Run& run_;
  Observer& observer_;
  std::optional<MetricsFile> metrics_;
  std::optional<InputLinksFile> input_links_;
  std::optional<TensorBoardLog> tensorboard_;
};

}  // namespace tulle
