#pragma once

#include <optional>

#include "tulle/base/clock.h"
#include "tulle/comm/communicator.h"

namespace tulle {

/// A save, a topology event, a validation: while it lives, whoever waits does so longer than the time limit.
class LongPhase {
 public:
  enum class Of {
    kThisRank,  // the others may wait for this one: ten times the time limit and `seconds`, of which they are
                // told
    kAllRanks,  // all are in it, and meet within it: each allows that by itself
    kAlike      // the same, with as much to do for each: ten times what this one needed before it waits
  };

  LongPhase(Communicator& comm, Of of, double seconds = 0.0);
  ~LongPhase();
  LongPhase(const LongPhase&) = delete;
  LongPhase& operator=(const LongPhase&) = delete;

 private:
  Communicator& comm_;
  Of of_;
  double time_limit_;
  std::optional<Clock> alike_;  // before it
};

}  // namespace tulle
