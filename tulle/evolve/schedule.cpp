#include "tulle/evolve/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace tulle {
namespace {

double constant(const EvolveProgress&) { return 1.0; }
double cosine(const EvolveProgress& p) {
  return 0.5 * (1.0 + std::cos(std::numbers::pi * std::min(p.part, 1.0)));
}
double linear(const EvolveProgress& p) { return std::max(0.0, 1.0 - p.part); }
double adaptive(const EvolveProgress& p) { return std::clamp(p.rate_share, 0.0, 1.0); }

// To add a schedule: its function above and one line here.
constexpr ZetaScheduleInfo kZetaSchedules[] = {
    {"constant", "zeta at every event", constant},
    {"cosine", "half a cosine from zeta to 0 where the topology freezes", cosine},
    {"linear", "straight down to 0 where the topology freezes", linear},
    {"adaptive",
     "zeta times the learning rate's share of train.learning_rate: falls when the steps get smaller",
     adaptive},
};

}  // namespace

std::span<const ZetaScheduleInfo> zeta_schedules() { return kZetaSchedules; }

double cubic_density(double initial, double final, double part) {
  const double left = 1.0 - std::clamp(part, 0.0, 1.0);
  return final + (initial - final) * left * left * left;
}

}  // namespace tulle
