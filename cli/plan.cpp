#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "exit_codes.h"
#include "failures.h"
#include "options.h"
#include "tulle/base/name_table.h"
#include "tulle/base/parallel.h"
#include "tulle/report/result.h"
#include "tulle/train/build.h"
#include "tulle/train/plan_ranks.h"

namespace tulle::cli {
namespace {

struct PlanOptions {
  std::string config;
  Link link;
  bool json = false;
};

nlohmann::json json_of(const RanksPlan& ranks) {
  nlohmann::json modes = nlohmann::json::array();
  for (const ModePlan& mode : ranks.modes) {
    modes.push_back({{"mode", mode.mode},
                     {"batch_size", mode.batch},
                     {"sent_bytes", mode.bytes},
                     {"rank_bytes", mode.rank_bytes},
                     {"step_seconds", mode.seconds},
                     {"samples_per_second", mode.samples_per_second},
                     {"efficiency", mode.efficiency}});
    if (!mode.refused.empty()) modes.back()["refused"] = mode.refused;
  }
  nlohmann::json recommended{{"mode", ranks.recommended}};
  if (ranks.local_steps > 0) recommended["local_steps"] = ranks.local_steps;
  return {{"modes", std::move(modes)}, {"recommended", std::move(recommended)}};
}

void print_modes(const RanksPlan& ranks, const Link& link) {
  fmt::print("\nlinks of {} a second and {:.3g} s; bytes sent by a rank, on average a step\n\n",
             bytes_text(static_cast<std::int64_t>(link.bandwidth)), link.latency);
  fmt::print("{:<10} {:>8} {:>12} {:>14} {:>11} {:>11} {:>10}\n", "mode", "batch", "sent a step",
             "RAM of a rank", "s a step", "samples/s", "computing");
  for (const ModePlan& mode : ranks.modes)
    if (mode.refused.empty())
      fmt::print("{:<10} {:>8} {:>12} {:>14} {:>11.4g} {:>11.0f} {:>8.1f} %\n", mode.mode, mode.batch,
                 bytes_text(mode.bytes), bytes_text(mode.rank_bytes), mode.seconds, mode.samples_per_second,
                 100.0 * mode.efficiency);
    else
      fmt::print("{:<10} {}\n", mode.mode, mode.refused);
  fmt::print("\nrecommended: {}{}\n", ranks.recommended,
             ranks.local_steps > 0 ? fmt::format(" with parallel.local_steps = {}", ranks.local_steps) : "");
}

std::string_view storage_name(const Plan& plan) {
  return storages()[static_cast<std::size_t>(plan.storage)].name;
}

nlohmann::json json_of(const Plan& plan, const Config& config, std::int64_t limit) {
  nlohmann::json items = nlohmann::json::object();
  for (const Plan::Item& item : plan.items) items[item.name] = item.bytes;
  nlohmann::json out{{"neurons", plan.neurons},
                     {"connections", plan.connections},
                     {"storage", storage_name(plan)},
                     {"bytes", items},
                     {"total", plan.total()},
                     {"fits", limit < 0 || plan.total() <= limit},
                     {"batch_size", config.train.batch_size}};
  if (limit >= 0) out["limit"] = limit;
  if (!plan.spill.empty())
    out["spill"] = {{"folder", plan.spill},
                    {"bytes", plan.spilled},
                    {"read_bytes", plan.read},
                    {"written_bytes", plan.written}};
  return out;
}

void print_memory(const Plan& plan, const Config& config, const std::string& whose) {
  fmt::print("{} neurons, {} connections, stored {}; batches of {}{}\n\n", plan.neurons, plan.connections,
             storage_name(plan), config.train.batch_size, whose);
  for (const Plan::Item& item : plan.items) fmt::print("{:<18} {:>12}\n", item.name, bytes_text(item.bytes));
  fmt::print("{:<18} {:>12}\n", "in all", bytes_text(plan.total()));
  if (!plan.spill.empty())
    fmt::print("{:<18} {:>12}   in {}; a step reads {} and writes {}\n", "in files", bytes_text(plan.spilled),
               plan.spill, bytes_text(plan.read), bytes_text(plan.written));
}

int verdict(const Plan& plan, std::int64_t limit, bool json) {
  if (limit < 0 || plan.total() <= limit) return kOk;
  if (!json)
    complain(fmt::format("memory, found a need of {}, expected at most {} (run.memory_limit)",
                         bytes_text(plan.total()), bytes_text(limit)));
  return kMemory;
}

int plan_alone(const Config& config, const Dataset& data, bool json) {
  const Plan plan = make_plan(config, data);
  const std::int64_t limit = memory_limit(config, plan);
  const double seconds = predicted_step_seconds(config, data, plan);
  const std::int64_t batch = limit < 0 ? 0 : largest_batch(config, data, limit);
  if (json) {
    nlohmann::json out = json_of(plan, config, limit);
    out["step_seconds"] = seconds;
    if (limit >= 0) out["largest_batch"] = batch;
    fmt::print("{}\n", out.dump(2));
  } else {
    print_memory(plan, config, "");
    if (limit >= 0)
      fmt::print("{:<18} {:>12}   largest batch that fits: {}\n", "limit", bytes_text(limit), batch);
    fmt::print("{:<18} {:>10.4g} s   from what this machine's memory {} now\n", "a training step", seconds,
               plan.spill.empty() ? "does" : "and disk do");
  }
  return verdict(plan, limit, json);
}

// The memory is that of one rank, a process of its own.
int plan_of_ranks(const Config& config, const Dataset& data, const PlanOptions& options) {
  const RanksPlan ranks = plan_ranks(config, data, options.link);
  const std::int64_t limit = memory_limit(config, ranks.rank);
  if (options.json) {
    nlohmann::json out = json_of(ranks.rank, config, limit);
    out["ranks"] = config.parallel.ranks;
    out.update(json_of(ranks));
    fmt::print("{}\n", out.dump(2));
  } else {
    print_memory(ranks.rank, config, fmt::format("; each of {} ranks takes", config.parallel.ranks));
    if (limit >= 0) fmt::print("{:<18} {:>12}\n", "limit", bytes_text(limit));
    print_modes(ranks, options.link);
  }
  return verdict(ranks.rank, limit, options.json);
}

int run_plan(const Config& config, const PlanOptions& options) {
  set_thread_count(static_cast<int>(config.run.threads));
  const Dataset data = load_dataset(data_options(config));
  return config.parallel.ranks > 1 ? plan_of_ranks(config, data, options)
                                   : plan_alone(config, data, options.json);
}

}  // namespace

Command plan_command(CLI::App& app) {
  const auto options = std::make_shared<PlanOptions>();
  app.add_option("config", options->config, "TOML file")->type_name("FILE");
  app.add_option("--bw", options->link.bandwidth, "with --ranks: bytes a second that a rank sends and gets")
      ->check(CLI::Range(1.0, 1e15))
      ->capture_default_str();
  app.add_option("--lat", options->link.latency, "with --ranks: seconds that a message is on its way")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  app.add_flag("--json", options->json, "print the plan as JSON");
  const auto flags = std::make_shared<ConfigFlags>(app, Sections(kTrainSections));
  return [options, flags] {
    Config config;
    if (!options->config.empty()) read_config_file(config, options->config);
    flags->apply(config);
    finish_config(config);
    return run_plan(config, *options);
  };
}

}  // namespace tulle::cli
