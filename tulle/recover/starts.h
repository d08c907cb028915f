#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "tulle/recover/recovery.h"

namespace tulle {

// The several starts of `strong`, for nets with one output and with several.

/// One way to look for a net.
struct Start {
  std::int64_t number = 0;
  double excess = 1.0;   // times as many nonzeros as wanted, at first
  bool born = true;      // first gates: born where y is, or random
  bool aiht = false;     // what `aiht` finds
  double leaving = 0.0;  // share of the best net's neurons that it begins without; 0: it begins with nothing
};

/// Four fresh starts, `aiht`, then the best net without some of its neurons.
class Starts {
 public:
  explicit Starts(const RecoverOptions& options)
      : options_(options), began_(std::chrono::steady_clock::now()) {}
  /// None after options.starts (0: 40), or after the first one if time_limit is over.
  std::optional<Start> next();

 private:
  const RecoverOptions& options_;
  std::chrono::steady_clock::time_point began_;
  std::int64_t taken_ = 0;
};

/// How many nonzeros step t of `steps` may have: excess * nnz for 0.3 of the steps, then geometrically down
/// to nnz at 0.75 of them; `most` at most.
std::int64_t graded_nonzeros(double excess, std::int64_t nnz, double phase, std::int64_t most);

/// Which of `count` neurons leave: a share of them, two at least, drawn from (seed, event).
std::vector<bool> leaving(std::size_t count, double share, std::uint64_t seed, std::int64_t event);

}  // namespace tulle
