#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <thread>

#include "tulle/train/train.h"

namespace tulle::cli {

/// What a rank of a launched job tells its supervisor: that it is there, and how many steps it is on. The
/// words go the way of all that ranks print, through mpirun to `tulle launch`, between two control
/// characters: no port is opened, and nobody but the job's own processes can speak there.
class Heartbeat {
 public:
  /// Tells at once, and every so many seconds until it goes.
  Heartbeat(int rank, double seconds);

  void on_batch(const Observer::Batch& batch) {
    step_.store((batch.epoch - 1) * batch.batches + batch.batch, std::memory_order_relaxed);
  }

 private:
  std::atomic<std::int64_t> step_{0};
  std::jthread thread_;  // the first to go
};

/// The supervisor's side: what was heard of each rank.
class Heartbeats {
 public:
  /// `text`, as mpirun passed it on, without what ranks told in it.
  std::string take(std::string_view text);

  /// Time passes: what this process slept through itself says nothing of the ranks, and is left out.
  void passed(double seconds) { now_ += seconds; }

  /// Whether a rank that was heard before has been silent for so many seconds.
  bool silent(double seconds) const;
  /// A line on the rank that has been silent for so many seconds, or else that stands behind the others; ""
  /// if there is none.
  std::string suspect(double seconds) const;

 private:
  struct Last {
    double heard = 0.0;  // when
    std::int64_t step = 0;
  };
  using Entry = std::map<int, Last>::value_type;
  void note(std::string_view words);
  const Entry* quietest() const;

  double silence(const Entry& entry) const { return now_ - entry.second.heard; }

  double now_ = 0.0;
  std::string begun_;  // a beat whose end is to come
  std::map<int, Last> ranks_;
};

}  // namespace tulle::cli
