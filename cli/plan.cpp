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
#include "tulle/train/plan.h"

namespace tulle::cli {
namespace {

struct PlanOptions {
  std::string config;
  bool json = false;
};

int run_plan(const Config& config, const PlanOptions& options) {
  set_thread_count(static_cast<int>(config.run.threads));
  const Dataset data = load_dataset(data_options(config));
  const Plan plan = make_plan(config, data);
  const std::int64_t limit = memory_limit(config, plan), total = plan.total();
  const bool fits = limit < 0 || total <= limit;
  const double seconds = predicted_step_seconds(config, data, plan);
  const std::int64_t batch = limit < 0 ? 0 : largest_batch(config, data, limit);
  const std::string_view storage = storages()[static_cast<std::size_t>(plan.storage)].name;
  if (options.json) {
    nlohmann::json items = nlohmann::json::object();
    for (const Plan::Item& item : plan.items) items[item.name] = item.bytes;
    nlohmann::json out{{"neurons", plan.neurons}, {"connections", plan.connections},
                       {"storage", storage},      {"bytes", items},
                       {"total", total},          {"fits", fits},
                       {"step_seconds", seconds}, {"batch_size", config.train.batch_size}};
    if (limit >= 0) out["limit"] = limit, out["largest_batch"] = batch;
    fmt::print("{}\n", out.dump(2));
    return fits ? kOk : kMemory;
  }
  fmt::print("{} neurons, {} connections, stored {}; batches of {}\n\n", plan.neurons, plan.connections,
             storage, config.train.batch_size);
  for (const Plan::Item& item : plan.items) fmt::print("{:<18} {:>12}\n", item.name, bytes_text(item.bytes));
  fmt::print("{:<18} {:>12}\n", "in all", bytes_text(total));
  if (limit >= 0)
    fmt::print("{:<18} {:>12}   largest batch that fits: {}\n", "limit", bytes_text(limit), batch);
  fmt::print("{:<18} {:>10.4g} s   from what this machine's memory does now\n", "a training step", seconds);
  if (fits) return kOk;
  complain(fmt::format("memory, found a need of {}, expected at most {} (run.memory_limit)",
                       bytes_text(total), bytes_text(limit)));
  return kMemory;
}

}  // namespace

Command plan_command(CLI::App& app) {
  const auto options = std::make_shared<PlanOptions>();
  app.add_option("config", options->config, "TOML file")->type_name("FILE");
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
