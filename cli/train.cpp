#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "exit_codes.h"
#include "job.h"
#include "options.h"
#include "progress.h"
#include "say.h"
#include "serve.h"
#include "signals.h"
#include "tulle/base/child.h"
#include "tulle/base/parallel.h"
#include "tulle/checkpoint/atomic_file.h"
#include "tulle/comm/mpi.h"
#include "tulle/data/load.h"
#include "tulle/kernels/targets.h"
#include "tulle/report/html.h"
#include "tulle/train/build_smlp.h"
#include "tulle/train/dense_run.h"
#include "tulle/train/experiment.h"
#include "tulle/train/modes.h"
#include "tulle/train/report_parts.h"
#include "tulle/version.h"

namespace tulle::cli {
namespace {

namespace fs = std::filesystem;

struct TrainOptions {
  std::string config, resume;
  int port = kNoPort;
  double heartbeat = 0.0;  // seconds; 0: none
  bool json = false, quiet = false, verbose = false;
};

std::string counts(const Split& split) {
  return fmt::format("{} x {}", split.inputs.samples, split.inputs.features);
}

void print_heading(const Config& config, const Dataset& data, const Run& run, const std::string& directory,
                   int ranks) {
  say(fmt::format("tulle {}   {}   {}{} threads   seed {}   -> {}\n", kVersion, kernels::current_target(),
                  ranks > 1 ? fmt::format("{} ranks ({})   ", ranks, mode_of(config, ranks).name) : "",
                  config.parallel.ranks > 1 ? threads_of_replica(config) : thread_count(), config.run.seed,
                  escape_control(directory)));
  say(fmt::format("data    train {}   valid {}   test {}   {} classes   {}, {}\n", counts(data.train),
                  data.valid.inputs.samples, data.test.inputs.samples, data.class_names.size(),
                  data.description, data.scaling.kind));
  for (std::size_t l = 0; l < run.model.network.size(); ++l) {
    const Layer& layer = run.model.network.layer(l);
    const std::int32_t outputs = run.model.network.outputs(l);
    const std::int64_t connections = run.model.network.connections(l);
    const auto form = layer.activation().piecewise();
    const std::string slope = form && form->slope != 1.0f ? fmt::format(" {:+g}", form->slope) : "";
    say(fmt::format("layer {:<2} {:>5} x {:<5} nnz {:>8} {:>7.2f} %   {}   {}{}\n", l, outputs,
                    layer.inputs(), connections,
                    100.0 * static_cast<double>(connections) / (double(layer.inputs()) * outputs),
                    layer.topology() != nullptr ? "sparse" : "dense ", layer.options().activation, slope));
  }
  if (run.state.step > 0)
    say(fmt::format("resume  after epoch {}, step {}\n", run.state.epoch, run.state.step));
  say(fmt::format("total   nnz {} of {} ({:.2f} %)\n", run.model.network.connections(),
                  run.model.network.cells(), 100.0 * run.model.network.density()));
}

// Passes everything on to the progress line, and tells of checkpoints.
class Teller final : public Observer {
 public:
  Teller(Progress& progress, const Job& job, bool verbose)
      : progress_(progress), job_(job), verbose_(verbose) {}
  void on_batch(const Batch& batch) override {
    progress_.on_batch(batch);
    job_.on_batch(batch);
  }
  bool on_epoch(const EpochRecord& record) override { return progress_.on_epoch(record); }
  void on_checkpoint(const CheckpointRecord& record) override {
    if (!verbose_) return;
    progress_.clear();
    say(fmt::format("saved   {} ({})\n", escape_control(record.path), bytes_text(record.bytes)));
  }

 private:
  Progress& progress_;
  const Job& job_;
  bool verbose_;
};

// Of a rank that prints nothing.
class Follower final : public Observer {
 public:
  explicit Follower(const Job& job) : job_(job) {}
  void on_batch(const Batch& batch) override { job_.on_batch(batch); }

 private:
  const Job& job_;
};

void print_result(const ResultRecord& record) {
  fmt::print("\n{:<20} {:>12} {:>12}   {}\n", "", "sparse", "dense", "factor");
  for (const ResultRow& row : record.rows)
    fmt::print("{:<20} {:>12} {:>12}   {}\n", row.name, row.sparse_text, row.dense_text, row.factor);
  fmt::print("({})\n\n", record.note);
}

struct Finished {
  int code = kOk;
  double accuracy = Outcome::kUnknown;
  ResultRecord result;
};

// Source: the published network does so too.
void warn_of_odd_sides(const Config& config, const Dataset& data) {
  if (config.model.kind != "smlp") return;
  const SmlpShape shape = smlp_shape(config, data);
  if (const auto stage = odd_stage(shape))
    say(
        fmt::format("tulle: warning: tokens of stage {}, found {} x {}, expected even sides: the next stage "
                    "loses the last row or column (model.strict_size refuses that)\n",
                    *stage, shape.stage_height(*stage), shape.stage_width(*stage)));
}

// One training with one seed, from the data to the result table.
Finished train_once(const Config& config, const Dataset& data, Start start, const TrainOptions& options,
                    const Job& job, Signals& signals) {
  std::optional<Experiment> prepared;
  job.together([&] { prepared.emplace(config, data, std::move(start), job.share()); });
  Experiment& experiment = *prepared;
  if (!job.leads()) {
    Follower follower(job);
    const Ending ending = experiment.train(follower, signals, job.ranks());
    return {.code = ending == Ending::kStopped ? stopped_exit_code() : kOk, .result = {}};
  }
  const Run& run = experiment.run();
  const int ranks = job.ranks() != nullptr ? job.ranks()->size() : static_cast<int>(config.parallel.ranks);
  warn_of_odd_sides(config, data);
  if (!options.quiet) print_heading(config, data, run, experiment.path(), ranks);

  Progress progress(options.quiet ? "none" : config.log.progress, options.verbose, config.train.epochs,
                    run.state.epoch);
  Teller teller(progress, job, options.verbose);
  const Ending ending = experiment.train(teller, signals, job.ranks());
  progress.clear();

  Finished finished;
  if (ending == Ending::kStopped) {
    finished.code = stopped_exit_code();
    experiment.record_stop(finished.code);
    if (!options.quiet)
      say(fmt::format("stopped after epoch {}, step {}; go on with: tulle train --resume {}\n",
                      run.state.epoch, run.state.step, escape_control(experiment.path())));
    return finished;
  }
  const std::string& mode = config.log.compare_dense;
  finished.result = experiment.finish([&](std::int64_t steps) -> std::optional<Outcome> {
    if (mode == "none" || signals.stop) return std::nullopt;
    if (!options.quiet)
      say(fmt::format("dense   the same shape, {}\n", mode == "train" ? "full training" : "a few batches"));
    try {
      return run_dense(kThisProgram, experiment.path(), mode, experiment.run().model.network.inputs(), steps,
                       signals.stop);
    } catch (
        const std::exception& error) {  // the training is done; its result must not be lost for a comparison
      say(fmt::format("tulle: warning: no dense comparison: {}\n", escape_control(error.what())));
      return std::nullopt;
    }
  });
  finished.accuracy = experiment.accuracy();
  if (!options.json && !options.quiet) {
    print_result(finished.result);
    fmt::print("model   {}\n", escape_control(experiment.model_path()));
    if (config.log.report) fmt::print("report  {}/report.html\n", escape_control(experiment.path()));
  }
  return finished;
}

// One run for each seed, in OUT/NAME/seed-N; what they have in common is printed at the end.
int train_seeds(Config config, const std::vector<std::int64_t>& seeds, const TrainOptions& options,
                const Job& job, Signals& signals) {
  config.run.out = (fs::path(config.run.out) / config.run.name).string();
  nlohmann::json results = nlohmann::json::array();
  double sum = 0.0, squares = 0.0;
  for (const std::int64_t seed : seeds) {
    config.run.seed = seed;
    config.run.name = fmt::format("seed-{}", seed);
    const Dataset data = load_dataset(data_options(config));  // the validation split depends on the seed
    const Finished finished = train_once(config, data, {}, options, job, signals);
    if (finished.code != kOk) return finished.code;
    results.push_back({{"seed", seed}, {"result", nlohmann::json::parse(to_json(finished.result))}});
    sum += finished.accuracy;
    squares += finished.accuracy * finished.accuracy;
    if (finished.accuracy == Outcome::kUnknown) sum = std::nan("");
  }
  std::vector<std::string> skipped;
  if (config.log.report)
    write_file_atomically(config.run.out + "/report.html", html_report({whole_run(config.run.out, skipped)}));
  const auto count = static_cast<double>(seeds.size());
  const double mean = sum / count;
  const double deviation = std::sqrt(std::max(squares - count * mean * mean, 0.0) / (count - 1.0));
  if (options.json) {
    nlohmann::json out{{"seeds", results}};
    if (!std::isnan(mean)) out["test_accuracy"] = {{"mean", mean}, {"deviation", deviation}};
    fmt::print("{}\n", out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
  } else if (!options.quiet && !std::isnan(mean)) {
    fmt::print("{} seeds: test accuracy {:.2f} % +- {:.2f}\n", seeds.size(), 100.0 * mean, 100.0 * deviation);
  }
  return kOk;
}

// What the command line asks for, read and checked.
struct Wanted {
  Config config;
  std::vector<std::int64_t> seeds;
};

Wanted read_options(const TrainOptions& options, const ConfigFlags& flags) {
  Wanted wanted;
  Config& config = wanted.config;
  const bool resumes_folder = !options.resume.empty() && options.resume != "auto";
  if (resumes_folder && !fs::exists(options.resume))
    throw Error(ErrorKind::kMissingInput, {.file = options.resume}, "cannot resume: no such file or folder");
  std::string config_path = options.config;
  if (config_path.empty() && resumes_folder) {
    const fs::path given = options.resume;
    config_path = ((fs::is_directory(given) ? given : given.parent_path()) / "config.toml").string();
  }
  if (!config_path.empty()) read_config_file(config, config_path);
  flags.apply(config);
  wanted.seeds = {config.run.seed};
  if (!flags.seed_text().empty()) wanted.seeds = parse_seeds(flags.seed_text());
  config.run.seed = wanted.seeds.front();
  finish_config(config);
  if (resumes_folder) {  // the run stays where it is, wherever its config says it was
    fs::path folder = fs::absolute(options.resume).lexically_normal();
    if (!fs::is_directory(folder)) folder = folder.parent_path();
    if (!folder.has_filename()) folder = folder.parent_path();
    config.run.out = folder.parent_path().string();
    config.run.name = folder.filename().string();
  }
  if (wanted.seeds.size() > 1 && !options.resume.empty())
    throw Error(ErrorKind::kConfig, "--resume, found several seeds, expected one");
  return wanted;
}

int run_train(const TrainOptions& options, const ConfigFlags& flags) {
  // Under an MPI launcher a mistake in the config is every rank's: they meet before one of them tells.
  std::optional<Wanted> wanted;
  std::exception_ptr mistake;
  try {
    wanted = read_options(options, flags);
  } catch (const Error&) {
    mistake = std::current_exception();
    if (launched_ranks() == 1) throw;
  }
  const Job job(wanted ? wanted->config.parallel.transport : "auto", options.heartbeat);
  return job.run([&] {
    job.together([&] {
      if (mistake != nullptr) std::rethrow_exception(mistake);
      if (job.ranks() != nullptr && wanted->seeds.size() > 1)
        throw Error(ErrorKind::kConfig, "--seed, found several seeds, expected one in an MPI job");
    });
    Config& config = wanted->config;
    std::int64_t threads = config.run.threads;
    // A launcher that binds ranks to cores of their own has shared them out already.
    if (threads == 0 && available_cores() == online_cores())
      threads = std::max(available_cores() / ranks_on_this_machine(), 1);
    set_thread_count(static_cast<int>(threads));
    Signals& signals = catch_signals();
    std::optional<LivePage> live;
    job.together([&] {
      if (options.port != kNoPort && job.leads())
        live.emplace((fs::path(config.run.out) / config.run.name).string(), options.port);
    });
    if (live && !options.quiet) say(fmt::format("live    {}\n", live->address()));
    if (wanted->seeds.size() > 1) return train_seeds(config, wanted->seeds, options, job, signals);

    std::optional<Dataset> data;
    Start start;
    job.together([&] {
      std::vector<std::string> skipped;
      if (!options.resume.empty() && job.leads()) start = find_start(options.resume, config, skipped);
      for (const std::string& message : skipped) say(fmt::format("tulle: warning: skipped {}\n", message));
      data.emplace(load_dataset(data_options(config)));
    });
    start.checkpoint = job.from_lead(start.checkpoint);
    const Finished finished = train_once(config, *data, std::move(start), options, job, signals);
    if (options.json && finished.code == kOk && job.leads()) fmt::print("{}\n", to_json(finished.result));
    return finished.code;
  });
}

}  // namespace

namespace {

struct TrainFlags {
  std::shared_ptr<TrainOptions> options = std::make_shared<TrainOptions>();
  std::shared_ptr<ConfigFlags> config;
};

TrainFlags add_flags(CLI::App& app) {
  TrainFlags flags;
  const auto& options = flags.options;
  app.add_option("config", options->config, "TOML file; every key is also a flag");
  app.add_option("--resume", options->resume,
                 "go on from a checkpoint file, from the newest good one in a run directory, or auto: from "
                 "the newest of this run, from the start if there is none");
  app.add_option(
         "--serve", options->port,
         "show the report of the training so far to this machine's browsers on this port; 0: any free one")
      ->check(CLI::Range(0, 65535));
  app.add_flag("--json", options->json, "print the result as one JSON document");
  app.add_flag("-q,--quiet", options->quiet, "print nothing but errors");
  app.add_flag("-v,--verbose", options->verbose, "keep the line of every epoch, tell of checkpoints");
  app.add_option("--heartbeat", options->heartbeat,
                 "tell tulle launch every so many seconds that this rank is there")
      ->group("");  // launch adds it
  flags.config = std::make_shared<ConfigFlags>(app, Sections(kTrainSections));
  return flags;
}

}  // namespace

Command train_command(CLI::App& app) {
  return [flags = add_flags(app)] { return run_train(*flags.options, *flags.config); };
}

Config config_of_training(const std::vector<std::string>& words) {
  CLI::App app{"train"};
  const TrainFlags flags = add_flags(app);
  std::vector<std::string> last_first(words.rbegin(), words.rend());
  try {
    app.parse(last_first);
  } catch (const CLI::ExtrasError& error) {  // of these words, not of the command line around them
    throw CLI::ValidationError("train", error.what());
  }
  return read_options(*flags.options, *flags.config).config;
}

}  // namespace tulle::cli
