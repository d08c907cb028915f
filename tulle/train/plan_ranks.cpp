#include "tulle/train/plan_ranks.h"

#include <algorithm>
#include <cmath>

#include "tulle/base/error.h"
#include "tulle/train/build.h"
#include "tulle/train/modes.h"

namespace tulle {
namespace {

constexpr double kWellUsed = 0.9, kLocalGoal = 0.95;  // shares of time spent on computing
constexpr double kMostLocalSteps = 500.0;

// What one rank does alone, with the batch that it gets.
Config rank_config(const Config& config, bool own_batches) {
  Config rank = config;
  rank.parallel.ranks = 1;
  rank.run.storage = "fast";  // gradients are kept, to be shared
  if (!own_batches)
    rank.train.batch_size = (config.train.batch_size + config.parallel.ranks - 1) / config.parallel.ranks;
  return rank;
}

// A rank's step, its plan, and what modes want to know of it.
struct RankWork {
  Config config;
  Plan plan;
  RankTask task;

  RankWork(const Config& all, const Dataset& data, const Link& link, const MachineRates& rates,
           bool own_batches)
      : config(rank_config(all, own_batches)), plan(make_plan(config, data)) {
    task = rank_task(config, data);
    task.ranks = static_cast<int>(all.parallel.ranks);
    task.replica_bytes = plan.total() - plan.data_bytes;
    task.compute_seconds = predicted_step_seconds(config, data, plan, rates);
    task.link = link;
  }
};

void recommend(const RankTask& task, const Config::Parallel& config, RanksPlan& plan) {
  const auto find = [&](const char* name) { return std::ranges::find(plan.modes, name, &ModePlan::mode); };
  const ModePlan& sync = *find("sync");
  plan.recommended = "sync";
  if (sync.efficiency >= kWellUsed || !find("local-sgd")->refused.empty()) return;
  plan.recommended = "local-sgd";
  const double steps =
      std::ceil(outer_step_seconds(task, config) * kLocalGoal / (1.0 - kLocalGoal) / task.compute_seconds);
  plan.local_steps = static_cast<std::int64_t>(std::clamp(steps, 1.0, kMostLocalSteps));
}

}  // namespace

RanksPlan plan_ranks(const Config& config, const Dataset& data, const Link& link) {
  const int ranks = static_cast<int>(config.parallel.ranks);
  const ModeInfo& chosen = mode_of(config, ranks);
  (void)storage_of(config, planned_connections(config, data));  // refuses compact storage
  const MachineRates rates;
  const RankWork shared(config, data, link, rates, /*own_batches=*/false),
      own(config, data, link, rates, /*own_batches=*/true);
  RanksPlan plan;
  for (const ModeInfo& mode : modes()) {
    if (mode.name == "none") continue;
    const RankWork& work = mode.own_batches ? own : shared;
    ModePlan entry{.mode = std::string(mode.name), .batch = work.config.train.batch_size};
    Config as_mode = config;
    as_mode.parallel.mode = mode.name;
    try {
      mode_of(as_mode, ranks);
    } catch (const Error& error) {
      entry.refused = error.what();
    }
    const Forecast forecast = mode.forecast(work.task, config.parallel);
    entry.bytes = forecast.sent_bytes;
    entry.rank_bytes = work.plan.total() + forecast.extra_bytes;
    entry.seconds = forecast.seconds;
    entry.efficiency = forecast.efficiency;
    const std::int64_t samples = config.train.batch_size * (mode.own_batches ? ranks : 1);
    entry.samples_per_second = forecast.efficiency * static_cast<double>(samples) / work.task.compute_seconds;
    plan.modes.push_back(std::move(entry));
    if (&mode != &chosen) continue;
    plan.rank = work.plan;
    plan.rank.items.push_back({"messages", forecast.extra_bytes});
  }
  recommend(shared.task, config.parallel, plan);
  return plan;
}

}  // namespace tulle
