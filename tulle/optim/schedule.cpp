#include "tulle/optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace tulle {
namespace {

double constant(const ScheduleOptions& o, std::int64_t) { return o.rate; }

double step_down(const ScheduleOptions& o, std::int64_t step) {
  const auto passed = std::count_if(o.milestones.begin(), o.milestones.end(),
                                    [&](std::int64_t epoch) { return step >= epoch * o.steps_per_epoch; });
  return o.rate * std::pow(o.gamma, static_cast<double>(passed));
}

double cosine(const ScheduleOptions& o, std::int64_t step) {
  const double part =
      static_cast<double>(step) / static_cast<double>(std::max<std::int64_t>(o.total_steps, 1));
  return o.minimum_rate +
         (o.rate - o.minimum_rate) * 0.5 * (1.0 + std::cos(std::numbers::pi * std::min(part, 1.0)));
}

double linear(const ScheduleOptions& o, std::int64_t step) {
  const double part =
      static_cast<double>(step) / static_cast<double>(std::max<std::int64_t>(o.total_steps, 1));
  return o.rate * std::max(0.0, 1.0 - part);
}

double plateau(const ScheduleOptions& o, std::int64_t) { return o.rate * o.plateau_factor; }

// To add a schedule: its function above and one line here.
constexpr ScheduleInfo kSchedules[] = {
    {"constant", "the same rate throughout", constant},
    {"step", "times gamma at each milestone", step_down},
    {"cosine", "half a cosine from the rate to minimum_rate", cosine},
    {"linear", "straight down to 0", linear},
    {"plateau", "times gamma whenever the validation loss has not fallen for plateau_patience epochs",
     plateau},
};

}  // namespace

std::span<const ScheduleInfo> schedules() { return kSchedules; }

double learning_rate(const ScheduleInfo& schedule, const ScheduleOptions& options, std::int64_t step) {
  double warmup = 1.0;
  if (step < options.warmup_steps)
    warmup = static_cast<double>(step + 1) / static_cast<double>(options.warmup_steps);
  return warmup * schedule.rate(options, step);
}

}  // namespace tulle
