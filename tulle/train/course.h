#pragma once

#include <cstdint>

#include "tulle/evolve/schedule.h"
#include "tulle/optim/schedule.h"
#include "tulle/train/modes.h"
#include "tulle/train/train.h"

namespace tulle {

/// Where a training stands and what is due there: rates, topology events, eliminations, checkpoints. All of
/// it is told by the run's state, so that a resumed training goes the same way.
class Course {
 public:
  /// Both outlive it. Throws tulle::Error (kConfig) for schedules and intervals that are none.
  Course(const Run& run, const Mode& mode, int ranks);

  /// Where the training stands, in steps of its first epoch: those of later ones may be others.
  std::int64_t step() const;
  /// The same as a share of the whole training.
  double share() const { return static_cast<double>(step()) / total_steps(); }

  /// The scheduled rate at step(), or a step before it. `one_network`: ranks share the steps of this epoch.
  double rate(bool one_network) { return rate_at(step(), one_network); }
  double rate_before(bool one_network) { return rate_at(step() - 1, one_network); }
  /// Whether the rate grows with the number of ranks. Source: arXiv 2102.01732, WASSP-SGD.
  bool scales_rate() const;

  /// Whether `every`, in steps or epochs, falls on where the training stands, an epoch's end if `epoch_done`.
  bool is_due(const Interval& every, bool epoch_done) const;
  /// Whether the topology changes now.
  bool event_is_due(bool epoch_done) const { return is_due(evolve_every_, epoch_done) && may_evolve(0); }
  /// Whether it does after one of the next `steps` steps.
  bool event_follows_within(std::int64_t steps) const;
  /// Whether neurons are eliminated at the end of this epoch.
  bool elimination_is_due() const;
  /// The share of connections that an event replaces here, at a learning rate of `rate`.
  double zeta(double rate) const;

 private:
  double total_steps() const { return static_cast<double>(schedule_options_.total_steps); }
  double rate_at(std::int64_t step, bool one_network);
  bool may_evolve(std::int64_t ahead) const;

  const Run& run_;
  const Mode& mode_;
  int ranks_;
  bool evolves_;
  const ScheduleInfo& schedule_;
  ScheduleOptions schedule_options_;
  const ZetaScheduleInfo& zeta_schedule_;
  Interval evolve_every_, importance_every_;
};

}  // namespace tulle
