#include "tulle/train/course.h"

#include <algorithm>
#include <cmath>

#include "tulle/base/name_table.h"
#include "tulle/train/build.h"

namespace tulle {

Course::Course(const Run& run, const Mode& mode, int ranks)
    : run_(run),
      mode_(mode),
      ranks_(ranks),
      evolves_(evolution_of(run.config).drop != nullptr),
      schedule_(find_name(schedules(), "train.schedule", run.config.train.schedule)),
      zeta_schedule_(find_name(zeta_schedules(), "evolve.zeta_schedule", run.config.evolve.zeta_schedule)),
      evolve_every_(parse_interval("evolve.update_every", run.config.evolve.update_every)),
      importance_every_(parse_interval("evolve.importance_every", run.config.evolve.importance_every)) {
  const Config::Train& t = run.config.train;
  const std::int64_t steps_per_epoch = mode.batches(0);
  schedule_options_ = {.rate = t.learning_rate,
                       .minimum_rate = t.minimum_rate,
                       .gamma = t.gamma,
                       .milestones = t.milestones,
                       .warmup_steps = std::llround(t.warmup_epochs * static_cast<double>(steps_per_epoch)),
                       .total_steps = t.epochs * steps_per_epoch,
                       .steps_per_epoch = steps_per_epoch};
}

std::int64_t Course::step() const {
  const std::int64_t first = schedule_options_.steps_per_epoch;
  return run_.state.epoch * first + run_.state.batch_in_epoch * first / mode_.batches(run_.state.epoch);
}

bool Course::scales_rate() const {
  const std::string& scale = run_.config.parallel.lr_scale;
  return ranks_ > 1 && (scale == "linear" || (scale == "auto" && run_.config.parallel.mode == "wassp"));
}

double Course::rate_at(std::int64_t at, bool one_network) {
  constexpr double kEpochs = 5.0;  // over which it grows
  const std::int64_t step = std::max<std::int64_t>(at, 0);
  schedule_options_.plateau_factor = run_.state.validation.rate_factor;
  const double rate = learning_rate(schedule_, schedule_options_, step);
  if (!scales_rate() || !one_network) return rate;
  const auto epoch = static_cast<double>(step / schedule_options_.steps_per_epoch);
  return rate * ((ranks_ - 1) * std::min(epoch / kEpochs, 1.0) + 1.0);
}

bool Course::is_due(const Interval& every, bool epoch_done) const {
  const auto count = static_cast<std::int64_t>(every.count);
  const bool inside = run_.state.batch_in_epoch > 0;  // of an epoch that is not counted yet
  if (every.unit == Interval::Unit::kStep) return run_.state.step % count == 0;
  return every.unit == Interval::Unit::kEpoch && epoch_done &&
         (run_.state.epoch + (inside ? 1 : 0)) % count == 0;
}

bool Course::may_evolve(std::int64_t ahead) const {
  // stop_after is at most 1: what would grow at the very end would stay untrained.
  return evolves_ && mode_.evolves() && run_.state.stability.stable_step == 0 &&
         static_cast<double>(step() + ahead) < run_.config.evolve.stop_after * total_steps();
}

bool Course::event_follows_within(std::int64_t steps) const {
  const auto count = static_cast<std::int64_t>(evolve_every_.count);
  std::int64_t ahead = 0;
  if (evolve_every_.unit == Interval::Unit::kStep) {
    ahead = count - run_.state.step % count;
  } else if (evolve_every_.unit == Interval::Unit::kEpoch) {
    ahead = mode_.batches(run_.state.epoch) - run_.state.batch_in_epoch;
    for (std::int64_t epoch = run_.state.epoch + 1; epoch % count != 0 && ahead <= steps; ++epoch)
      ahead += mode_.batches(epoch);
  }
  return ahead > 0 && ahead <= steps && may_evolve(ahead);
}

bool Course::elimination_is_due() const {
  const Config::Evolve& e = run_.config.evolve;
  const std::int64_t epoch = run_.state.epoch + 1;
  return e.importance_percentile > 0.0 && epoch >= e.importance_start &&
         (epoch - e.importance_start) % static_cast<std::int64_t>(importance_every_.count) == 0 &&
         epoch < run_.config.train.epochs;
}

double Course::zeta(double rate) const {
  const EvolveProgress progress{.part = share() / run_.config.evolve.stop_after,
                                .rate_share = rate / std::max(run_.config.train.learning_rate, 1e-300)};
  return run_.config.evolve.zeta * zeta_schedule_.factor(progress);
}

}  // namespace tulle
