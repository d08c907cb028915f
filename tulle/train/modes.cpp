#include "tulle/train/modes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tulle/base/error.h"
#include "tulle/base/name_table.h"
#include "tulle/comm/collectives.h"
#include "tulle/train/build.h"

namespace tulle {
namespace {

// To add a mode: write its mode_*.cpp here and give it one line in this table.
constexpr ModeInfo kModes[] = {
    {"none", "one process learns alone", "", make_single, forecast_single},
    {"sync", "every rank holds the same network and learns from a part of each batch; gradients are summed",
     "", make_sync, forecast_sync},
    {"wasap",
     "workers send gradients to a server as they have them, then learn alone; replicas are averaged at the "
     "end",
     "arXiv 2102.01732, WASAP-SGD", make_wasap, forecast_wasap, true},
    {"wassp",
     "workers sum gradients of batches of their own, then learn alone; replicas are averaged at the end",
     "arXiv 2102.01732, WASSP-SGD", make_wassp, forecast_wassp, true},
    {"local-sgd",
     "ranks learn alone for some steps at a time, then go on from the average's move, with momentum",
     "arXiv 2311.08105, DiLoCo", make_local_sgd, forecast_local_sgd},
};

[[noreturn]] void refuse(std::string_view key, std::string_view found, std::string_view expected,
                         std::string_view mode) {
  throw Error(ErrorKind::kConfig, fmt::format("{}, found {}, expected {} with parallel.mode = \"{}\"", key,
                                              found, expected, mode));
}

}  // namespace

bool Mode::meet(bool go_on) {
  return std::ranges::all_of(gather_all(ranks_.comm, char{go_on}), [](char on) { return on != 0; });
}

std::span<const ModeInfo> modes() { return kModes; }

const ModeInfo& mode_of(const Config& config, int ranks) {
  const std::string name = config.parallel.mode == "none" && ranks > 1 ? "sync" : config.parallel.mode;
  const ModeInfo& mode = find_name(modes(), "parallel.mode", name);
  if (name == "none") return mode;
  // Batch norm would need the statistics of all ranks' samples.
  if (config.model.kind == "smlp") refuse("model.kind", "smlp", "mlp", name);
  if (name == "local-sgd") {
    const Interval update = parse_interval("evolve.update_every", config.evolve.update_every);
    if (update.unit == Interval::Unit::kStep && std::llround(update.count) % config.parallel.local_steps != 0)
      refuse("evolve.update_every", fmt::format("'{}'", config.evolve.update_every),
             fmt::format("epochs or a multiple of parallel.local_steps ({})", config.parallel.local_steps),
             name);
    if (evolution_of(config).gathers())  // ranks are apart while they would gather
      refuse("evolve.grow", fmt::format("'{}'", evolution_of(config).grow->name), "another grow rule", name);
  }
  if (name != "sync" && config.train.ema_decay > 0.0)
    refuse("train.ema_decay", fmt::format("{}", config.train.ema_decay), "0", name);
  if (name == "wasap" || name == "wassp") {
    if (config.train.early_stopping > 0) refuse("train.early_stopping", "some", "0", name);
    if (config.train.schedule == "plateau") refuse("train.schedule", "plateau", "another", name);
    const Interval update = parse_interval("evolve.update_every", config.evolve.update_every);
    if (update.unit == Interval::Unit::kStep) refuse("evolve.update_every", "steps", "epochs", name);
  }
  if (name == "wasap" && config.evolve.stable_events > 0)  // workers do not see the server's events
    refuse("evolve.stable_events", fmt::format("{}", config.evolve.stable_events), "0", name);
  if (name == "wasap" && config.evolve.importance_percentile > 0.0)
    refuse("evolve.importance_percentile", "some", "0", name);
  return mode;
}

SumExchange::Wire wire_of(const Config::Parallel& config) {
  return config.wire == "bf16" ? SumExchange::Wire::kBf16 : SumExchange::Wire::kFloat;
}

}  // namespace tulle
