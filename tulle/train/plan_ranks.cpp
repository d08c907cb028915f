#include "tulle/train/plan_ranks.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "tulle/base/error.h"
#include "tulle/base/name_table.h"
#include "tulle/train/build.h"
#include "tulle/train/modes.h"

namespace tulle {
namespace {

constexpr double kWellUsed = 0.9, kLocalGoal = 0.95;  // shares of time spent on computing
constexpr double kMostLocalSteps = 500.0;

// What one rank does alone, with the batch that it gets.
Config rank_config(const Config& config, const ModeInfo& mode) {
  Config rank = config;
  rank.parallel.ranks = 1;
  if (mode.name == "rows") {
    rank.parallel.mode = mode.name;
    return rank;
  }
  if (spreads_neurons(config)) rank.parallel.mode = "sync";
  rank.run.storage = "fast";         // gradients are kept, to be shared
  rank.parallel.virtual_shards = 0;  // forecast_sync() counts what shards take
  if (!mode.own_batches)
    rank.train.batch_size = (config.train.batch_size + config.parallel.ranks - 1) / config.parallel.ranks;
  return rank;
}

// A rank's step, its plan, and what modes want to know of it.
struct RankWork {
  Config config;
  Plan plan;
  RankTask task;

  RankWork(const Config& all, const Dataset& data, const Link& link, const MachineRates& rates,
           const ModeInfo& mode)
      : config(rank_config(all, mode)), plan(make_plan(config, data, static_cast<int>(all.parallel.ranks))) {
    task = rank_task(config, data);
    task.ranks = static_cast<int>(all.parallel.ranks);
    task.replica_bytes = plan.total() - plan.data_bytes;
    task.compute_seconds = predicted_step_seconds(config, data, plan, rates);
    if (spreads_neurons(config)) task.compute_seconds /= task.ranks;
    task.link = link;
  }
};

// `limit`: memory of a rank; negative: any.
void recommend(const RankTask& task, const Config::Parallel& config, std::int64_t limit, RanksPlan& plan) {
  const auto find = [&](const char* name) { return std::ranges::find(plan.modes, name, &ModePlan::mode); };
  const ModePlan& sync = *find("sync");
  plan.recommended = "sync";
  if (limit >= 0 && sync.rank_bytes > limit && find("rows")->refused.empty()) {
    plan.recommended = "rows";
    return;
  }
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
  // Of each kind of mode one.
  const auto work_of = [&](const char* name) {
    return RankWork(config, data, link, rates, find_name(modes(), "parallel.mode", name));
  };
  const RankWork shared = work_of("sync"), own = work_of("wasap");
  std::optional<RankWork> parts;
  RanksPlan plan;
  for (const ModeInfo& mode : modes()) {
    if (mode.name == "none") continue;
    ModePlan entry{.mode = std::string(mode.name)};
    Config as_mode = config;
    as_mode.parallel.mode = mode.name;
    try {
      mode_of(as_mode, ranks);
      if (mode.name == "rows") parts.emplace(work_of("rows"));
    } catch (const Error& error) {
      entry.refused = error.what();
    }
    const RankWork& work = mode.name == "rows" && parts ? *parts : mode.own_batches ? own : shared;
    entry.batch = work.config.train.batch_size;
    const Forecast forecast = mode.forecast(work.task, config.parallel);
    entry.bytes = forecast.sent_bytes;
    entry.rank_bytes = work.plan.total() + forecast.extra_bytes - forecast.spared_bytes;
    entry.seconds = forecast.seconds;
    entry.efficiency = forecast.efficiency;
    const std::int64_t samples = config.train.batch_size * (mode.own_batches ? ranks : 1);
    entry.samples_per_second = forecast.efficiency * static_cast<double>(samples) / work.task.compute_seconds;
    plan.modes.push_back(std::move(entry));
    if (&mode != &chosen) continue;
    plan.rank = work.plan;
    std::ranges::find(plan.rank.items, "optimizer state", &Plan::Item::name)->bytes -= forecast.spared_bytes;
    plan.rank.items.push_back({"messages", forecast.extra_bytes});
  }
  recommend(shared.task, config.parallel, memory_limit(config, shared.plan), plan);
  return plan;
}

}  // namespace tulle
