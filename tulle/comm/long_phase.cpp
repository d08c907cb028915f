#include "tulle/comm/long_phase.h"

namespace tulle {

LongPhase::LongPhase(Communicator& comm, Of of, double seconds)
    : comm_(comm), of_(of), time_limit_(comm.time_limit()), alike_(comm.alike_since()) {
  const double longer = 10.0 * time_limit_ + seconds;
  if (of == Of::kThisRank) comm.announce(longer);
  if (of == Of::kAllRanks) comm.set_time_limit(time_limit_ + longer);
  if (of == Of::kAlike) comm.set_alike_since(Clock());
}

LongPhase::~LongPhase() {
  if (of_ == Of::kThisRank) comm_.announce(0.0);
  comm_.set_time_limit(time_limit_);
  comm_.set_alike_since(alike_);
}

}  // namespace tulle
