#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "tulle/report/result.h"

namespace tulle {

/// Trains the dense network of a run's shape in a process of its own, so that its memory can be told, and
/// returns what it cost: a few batches for mode "timing" (accuracy and loss unknown, seconds extrapolated to
/// `batches`), everything for "train"; ends it early on `stop`. `program`: the command line tool; `inputs`:
/// those of the network. Throws
/// tulle::Error (kTemporary) if the process fails, with what it said.
Outcome run_dense(const std::string& program, const std::string& run_directory, const std::string& mode,
                  std::int64_t inputs, std::int64_t batches, const std::atomic<bool>& stop);

}  // namespace tulle
