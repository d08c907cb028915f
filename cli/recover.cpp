#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "exit_codes.h"
#include "options.h"
#include "progress.h"
#include "recover_grid.h"
#include "say.h"
#include "signals.h"
#include "tulle/base/parallel.h"
#include "tulle/kernels/targets.h"
#include "tulle/report/result.h"
#include "tulle/train/recover_run.h"
#include "tulle/version.h"

namespace tulle::cli {
namespace {

struct RecoverFlags {
  std::string config;
  bool json = false, quiet = false;
};

// --published stands for every choice of the paper's code that was not made by hand.
void apply_published(Config& config) {
  if (!config.recover.published) return;
  const auto unless_given = [&](std::string_view key, std::string_view value) {
    if (!config.given.contains(std::string(key))) set_config_value(config, key, value);
  };
  unless_given("recover.signs", "positive");
  unless_given("recover.coordinates", "integer");
  unless_given("recover.imp", "published");
}

Config read_config(const RecoverFlags& options, const ConfigFlags& flags) {
  Config config;
  config.run.name = "recover";
  if (!options.config.empty()) read_config_file(config, options.config);
  flags.apply(config);
  if (!flags.seed_text().empty()) {
    const std::vector<std::int64_t> seeds = parse_seeds(flags.seed_text());
    if (seeds.size() > 1)
      throw Error(ErrorKind::kConfig, "--seed, found several, expected one; `recover grid` takes several");
    config.run.seed = seeds.front();
  }
  apply_published(config);
  for (const KeyInfo& key : config_keys()) check_config_value(key, config);
  return config;
}

void print_record(const nlohmann::json& record) {
  const auto number = [&](const char* key, const char* unit) {
    if (record.contains(key) && !record[key].is_null())
      fmt::print("{:<18} {:.4g}{}\n", key, record[key].get<double>(), unit);
  };
  fmt::print("{:<18} {} of {}, {} with output weights, {} of {} neurons\n", "nonzeros",
             record["nnz"].get<std::int64_t>(), record["budget"].get<std::int64_t>(),
             record["unfused_nnz"].get<std::int64_t>(), record["alive"].get<std::int64_t>(),
             record["hidden_width"].get<std::int64_t>());
  for (const char* key : {"psnr", "fresh_psnr", "zero_psnr", "mean_psnr"}) number(key, " dB");
  for (const char* key : {"relative_error", "accuracy", "fresh_accuracy", "support_f1", "weight_error"})
    number(key, "");
  if (record.contains("bytes")) {
    const auto& bytes = record["bytes"];
    fmt::print("{:<18} {} as values and indices; PNG {}, JPEG {} at {:.2f} dB\n", "bytes",
               bytes["net"].get<std::int64_t>(), bytes["png"].get<std::int64_t>(),
               bytes["jpeg"].get<std::int64_t>(), bytes["jpeg_psnr"].get<double>());
  }
  fmt::print("{:<18} {} in {} start(s), {:.3g} s\n", "steps", record["steps"].get<std::int64_t>(),
             record["starts"].get<std::int64_t>(), record["seconds"].get<double>());
}

int recover_verb(const RecoverFlags& options, const ConfigFlags& flags) {
  const Config config = read_config(options, flags);
  set_thread_count(static_cast<int>(config.run.threads));
  const Signals& signals = catch_signals();
  const std::string folder = (std::filesystem::path(config.run.out) / config.run.name).string();
  check_recovery_folder(folder);
  const RecoverTask task = task_of(config);  // before there is a folder: bad input leaves nothing behind
  const RunDirectory directory = RunDirectory::open(folder);
  StatusLine line(options.quiet ? "none" : config.log.progress);
  bool told = options.quiet;
  const auto watch = [&](const RecoverStep& now) {
    if (!std::exchange(told, true))
      say(fmt::format(
          "tulle {}   {}   {} threads   seed {}   -> {}\nrecover {} by {}   {} x {}   m {}   s {}\n",
          kVersion, kernels::current_target(), thread_count(), config.run.seed, escape_control(folder),
          config.recover.task, config.recover.method, task.x.count(), task.x.features(),
          config.recover.hidden_width, config.recover.nnz));
    if (line.due()) line.draw(recover_status(task, now));
  };
  const nlohmann::json record = recover_into(config, task, folder, signals.stop, watch);
  line.clear();
  if (options.json)
    fmt::print("{}\n", record.dump(2));
  else if (!options.quiet)
    print_record(record);
  return signals.stop ? stopped_exit_code() : kOk;
}

int grid_verb(const RecoverFlags& options, const ConfigFlags& flags, const GridOptions& grid) {
  Config config = read_config(options, flags);
  set_thread_count(static_cast<int>(config.run.threads));
  return recover_grid(config, grid, catch_signals().stop, options.quiet) ? kOk : stopped_exit_code();
}

}  // namespace

Command recover_command(CLI::App& app) {
  auto options = std::make_shared<RecoverFlags>();
  app.add_option("config", options->config, "TOML file; every key is also a flag");
  app.add_flag("--json", options->json, "print the record as JSON");
  app.add_flag("-q,--quiet", options->quiet, "print nothing but errors");
  auto flags = std::make_shared<ConfigFlags>(app, Sections(kRecoverSections));

  CLI::App* grid = app.add_subcommand(
      "grid", "every width with every budget and seed: a table and a heat map; goes on where it stopped");
  auto cells = std::make_shared<GridOptions>();
  auto grid_options = std::make_shared<RecoverFlags>();
  grid->add_option("config", grid_options->config, "TOML file; every key is also a flag");
  grid->add_option("--widths", cells->widths, "hidden widths")->delimiter(',')->required();
  grid->add_option("--budgets", cells->budgets, "nonzeros")->delimiter(',')->required();
  grid->add_option("--seeds", cells->seeds, "N, N..M or N,M,...");
  grid->add_option("--methods", cells->methods, "side by side")->delimiter(',');
  grid->add_flag("-q,--quiet", grid_options->quiet, "print nothing but errors");
  auto grid_flags = std::make_shared<ConfigFlags>(*grid, Sections(kRecoverSections));
  return [options, flags, grid, cells, grid_options, grid_flags] {
    return grid->parsed() ? grid_verb(*grid_options, *grid_flags, *cells) : recover_verb(*options, *flags);
  };
}

}  // namespace tulle::cli
