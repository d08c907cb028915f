#pragma once

#include <atomic>
#include <string>

#include "tulle/report/metrics.h"
#include "tulle/train/train.h"

namespace tulle::cli {

/// What a finished training cost and reached: the numbers of the result table.
struct Outcome {
  static constexpr double kUnknown = -1.0;
  double accuracy = kUnknown;  // on the test data
  double loss = kUnknown;      // on the test data if there is any, else on the training data
  double nnz = 0.0;
  double density = 0.0;
  double seconds = 0.0;            // training, without reading data and evaluation
  double seconds_per_batch = 0.0;  // forward, backward, update
  double file_bytes = 0.0;
  double training_bytes = 0.0;  // peak memory beyond the data
};

/// Trains the dense network of the same shape in a process of its own and returns what it cost: a few batches
/// for mode "timing" (accuracy and loss unknown, seconds extrapolated to `batches`), everything for "train";
/// ends it early on `stop`. Throws tulle::Error (kTemporary) if the process fails, with what it said.
Outcome run_dense(const std::string& run_directory, const std::string& mode, std::int64_t batches,
                  const std::atomic<bool>& stop);

/// The table as records for metrics.jsonl and the report.
ResultRecord result_record(const Outcome& sparse, const Outcome* dense);

/// Prints the table to standard output.
void print_result(const ResultRecord& record);

/// "125.7 kB", "11.19 MB".
std::string bytes_text(std::int64_t bytes);

}  // namespace tulle::cli
