#include "tulle/train/modes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

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
    {"rows",
     "every rank holds a part of each layer's neurons with the connections into them; activations are "
     "gathered, "
     "errors summed: for networks larger than one machine's memory",
     "", make_rows, forecast_rows},
};

std::vector<std::string_view> names_by_rows(const auto& rules) {
  std::vector<std::string_view> names;
  for (const auto& rule : rules)
    if (rule.by_rows) names.push_back(rule.name);
  return names;
}

[[noreturn]] void refuse(std::string_view key, std::string_view found, std::string_view expected,
                         std::string_view mode) {
  throw Error(ErrorKind::kConfig, fmt::format("{}, found {}, expected {} with parallel.mode = \"{}\"", key,
                                              found, expected, mode));
}

// What parts of layers cannot do, and what nobody has as a whole.
void check_rows(const Config& config) {
  const auto want = [](bool fits, std::string_view key, std::string_view found, std::string_view expected) {
    if (!fits) refuse(key, found, expected, "rows");
  };
  const Config::Train& t = config.train;
  const Config::Evolve& e = config.evolve;
  want(config.run.storage != "fast", "run.storage", "'fast'", "'compact' or 'auto'");
  want(config.run.spill.empty(), "run.spill", "'" + config.run.spill + "'", "none");
  want(config.model.dtype == "f32", "model.dtype", "'" + config.model.dtype + "'", "'f32'");
  want(config.model.weights == "f32", "model.weights", "'" + config.model.weights + "'", "'f32'");
  want(config.topology.window == 0, "topology.window", fmt::format("{}", config.topology.window), "0");
  const auto activation =
      find_name(activations(), "model.activation", config.model.activation).make({.neurons = 1});
  want(activation->parameters().empty(), "model.activation", "'" + config.model.activation + "'",
       "one without trained parameters");
  want(config.parallel.wire == "f32", "parallel.wire", "'" + config.parallel.wire + "'", "'f32'");
  want(t.clip_norm == 0.0, "train.clip_norm", fmt::format("{}", t.clip_norm), "0");
  want(t.clip_value == 0.0, "train.clip_value", fmt::format("{}", t.clip_value), "0");
  want(e.importance_percentile == 0.0, "evolve.importance_percentile",
       fmt::format("{}", e.importance_percentile), "0");
  want(config.data.valid_fraction == 0.0 || config.checkpoint.best == "last", "checkpoint.best",
       "'" + config.checkpoint.best + "'", "'last'");
  want(!config.log.input_links, "log.input_links", "true", "false");
  want(!config.log.tensorboard, "log.tensorboard", "true", "false");
  const Evolution how = evolution_of(config);
  if (how.drop == nullptr) return;
  want(how.drop->by_rows, "evolve.drop", fmt::format("'{}'", how.drop->name),
       fmt::format("one of {}", fmt::join(names_by_rows(drop_rules()), ", ")));
  want(how.grow->by_rows, "evolve.grow", fmt::format("'{}'", how.grow->name),
       fmt::format("one of {}", fmt::join(names_by_rows(grow_rules()), ", ")));
  want(!how.global, "evolve.scope", "'global'", "'layer'");
  want(!how.chain_removal, "evolve.chain_removal", "true", "false");
  want(how.redistribute == Redistribute::kNone, "evolve.redistribute", "'" + e.redistribute + "'", "'none'");
  want(!how.dense_layers, "evolve.evolve_dense", "true", "false");
}

// Batch norm is that of all ranks' samples, or each rank's alone.
void check_smlp(const Config& config, std::string_view mode) {
  if (mode != "sync" && mode != "local-sgd") refuse("model.kind", "smlp", "mlp", mode);
  if (config.parallel.virtual_shards > 1)  // a norm of each shard would be another net
    refuse("parallel.virtual_shards", fmt::format("{}", config.parallel.virtual_shards), "0 of images", mode);
}

}  // namespace

bool Mode::meet(bool go_on) {
  return std::ranges::all_of(gather_all(ranks_.comm, char{go_on}), [](char on) { return on != 0; });
}

std::span<const ModeInfo> modes() { return kModes; }

const ModeInfo& mode_of(const Config& config, int ranks) {
  const bool shared = ranks > 1 || config.parallel.virtual_shards > 0;
  const std::string name = config.parallel.mode == "none" && shared ? "sync" : config.parallel.mode;
  const ModeInfo& mode = find_name(modes(), "parallel.mode", name);
  if (name == "none") return mode;
  if (config.model.kind == "smlp") check_smlp(config, name);
  if (config.parallel.shard_momentum && name != "sync")
    refuse("parallel.shard_momentum", "true", "false", name);
  if (name == "rows") check_rows(config);
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
  return mode;
}

Loader::Part part_of_batch(const Config& config, int part, int parts) {
  Loader::Part of{.part = part, .parts = parts};
  if (config.model.kind == "smlp") of.grain = 1;
  return of;
}

SumExchange::Wire wire_of(const Config::Parallel& config) {
  return config.wire == "bf16" ? SumExchange::Wire::kBf16 : SumExchange::Wire::kFloat;
}

}  // namespace tulle
