#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace tulle {

struct ScheduleOptions {
  double rate = 0.01;                    // eta, the rate after warm-up
  double minimum_rate = 0.0;             // cosine: where it ends
  double gamma = 0.1;                    // step: factor at each milestone; plateau: at each plateau
  std::vector<std::int64_t> milestones;  // step: epochs
  std::int64_t warmup_steps = 0;
  std::int64_t total_steps = 1;
  std::int64_t steps_per_epoch = 1;
  double plateau_factor = 1.0;  // plateau: what the plateaus so far have made of the rate
};

/// Learning rate as a function of the optimizer step, before warm-up.
struct ScheduleInfo {
  std::string_view name;
  std::string_view help;
  double (*rate)(const ScheduleOptions&, std::int64_t step);
};

std::span<const ScheduleInfo> schedules();

/// The learning rate of optimizer step `step` (from 0): schedule times warm-up, which rises linearly to 1
/// over the first warmup_steps steps, (step + 1) / warmup_steps.
double learning_rate(const ScheduleInfo& schedule, const ScheduleOptions& options, std::int64_t step);

}  // namespace tulle
