#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tulle/train/forecast.h"
#include "tulle/train/plan.h"

namespace tulle {

/// What one mode of parallel.mode would make of a training on several ranks.
struct ModePlan {
  std::string mode;
  std::string refused;          // why this config cannot be trained so; empty: it can
  std::int64_t batch = 0;       // samples of a rank's step
  std::int64_t bytes = 0;       // Forecast::sent_bytes
  std::int64_t rank_bytes = 0;  // memory of the rank that needs most, data included
  double seconds = 0.0;         // of a step
  double samples_per_second = 0.0;
  double efficiency = 0.0;  // share of that time in which a rank computes
};

/// What a training on parallel.ranks ranks will need and send, each a process with the data of its own.
struct RanksPlan {
  Plan rank;  // of a rank in the mode that parallel.mode takes, its messages included
  std::vector<ModePlan> modes;
  // rows where a whole network does not fit the memory of a rank, sync where it computes nine tenths of the
  // time, else local-sgd.
  std::string recommended;
  std::int64_t local_steps = 0;  // of local-sgd, for 19 of 20; 0: another is recommended
};

/// Starts nothing; takes the seconds that predicted_step_seconds() does. Throws tulle::Error (kConfig) as
/// make_plan() and mode_of().
RanksPlan plan_ranks(const Config& config, const Dataset& data, const Link& link);

}  // namespace tulle
