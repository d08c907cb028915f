#pragma once

#include <span>
#include <string_view>

namespace tulle {

/// Where a training stands at an event.
struct EvolveProgress {
  double part = 0.0;        // of the steps with events: 0 at the start, 1 where the topology freezes
  double rate_share = 1.0;  // learning rate now / train.learning_rate
};

/// The share of connections replaced at an event, as a factor of evolve.zeta.
struct ZetaScheduleInfo {
  std::string_view name;
  std::string_view help;
  double (*factor)(const EvolveProgress&);
};

std::span<const ZetaScheduleInfo> zeta_schedules();

/// The density of a network that loses connections, d_f + (d_i - d_f) (1 - part)^3; `part` is clamped to 0
/// to 1. Source: Zhu and Gupta 2017 (arXiv 1710.01878), used by GraNet (Liu et al. 2021).
double cubic_density(double initial, double final, double part);

}  // namespace tulle
