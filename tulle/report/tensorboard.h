#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "tulle/base/file_ops.h"
#include "tulle/base/wire_format.h"
#include "tulle/nn/network.h"
#include "tulle/report/metrics.h"
#include "tulle/sparse/cell_set.h"

namespace tulle {

/// A file of events as TensorBoard reads it: records of a length, a payload and their CRCs (TFRecord), each
/// payload a protobuf message Event. Every event is written at once, so that a crash tears the last one at
/// most, which readers leave out.
class EventFile {
 public:
  /// Creates FOLDER/events.out.tfevents.<seconds>.<host>.<pid>, and the folder. Readers take events of
  /// `first_step` and later from this file alone, whatever older files of the folder hold. Throws
  /// tulle::Error: kCannotWrite, kPermission, kIo.
  EventFile(const std::string& folder, std::int64_t first_step, FileOps& files = real_file_ops());

  /// Values of the event to come.
  void add(std::string_view tag, double value);
  /// A histogram of the finite ones among `values`, in kBuckets of equal width from the least to the largest.
  /// Cost: two passes.
  void add(std::string_view tag, std::span<const float> values);
  static constexpr std::size_t kBuckets = 64;

  /// Writes them as one event. Throws as the constructor.
  void write(std::int64_t step);

  const std::string& path() const { return path_; }

 private:
  void open(const std::string& folder);
  void append(WireWriter& event);

  FileOps& files_;
  std::string path_;
  FileHandle file_;
  WireWriter summary_;
};

/// What TensorBoard shows of a training, an event per epoch, in a folder (RUN/tb); a training that is resumed
/// writes a file of its own beside. Tags: train/, test/ and valid/ loss and accuracy; lr; sparsity/nnz,
/// density, exploration; speed/conn_per_s; memory/peak_rss; layer<i>/density, explored; and histograms
/// layer<i>/weights, in_degree and out_degree (those of sparse layers).
class TensorBoardLog {
 public:
  /// For a run that stands at optimizer step `step`. Throws as EventFile.
  TensorBoardLog(const std::string& folder, std::int64_t step);

  /// `explored`: of each layer, or empty. `histograms`: the network they are of; null: none this epoch. Cost
  /// of histograms: O(connections).
  void write(const EpochRecord& record, std::span<const CellSet> explored, const Network* histograms);

 private:
  EventFile events_;
};

}  // namespace tulle
