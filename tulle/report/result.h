#pragma once

#include <cstdint>
#include <string>

#include "tulle/report/metrics.h"

namespace tulle {

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

/// The table as records for metrics.jsonl and the report; `dense`: of the dense network of the same shape, if
/// it was run.
ResultRecord result_record(const Outcome& sparse, const Outcome* dense = nullptr);

/// "125.7 kB", "11.19 MB".
std::string bytes_text(std::int64_t bytes);

}  // namespace tulle
