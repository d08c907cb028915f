#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "exit_codes.h"
#include "options.h"
#include "progress.h"
#include "result.h"
#include "tulle/base/parallel.h"
#include "tulle/checkpoint/atomic_file.h"
#include "tulle/data/load.h"
#include "tulle/kernels/targets.h"
#include "tulle/report/html.h"
#include "tulle/report/memory.h"
#include "tulle/train/train.h"
#include "tulle/version.h"

namespace tulle::cli {
namespace {

namespace fs = std::filesystem;

struct TrainOptions {
  std::string config, resume;
  bool json = false, quiet = false, verbose = false;
};

Signals g_signals;
volatile std::sig_atomic_t g_stop_signal = 0;

// Async-signal-safe: only flags are set. A second SIGINT leaves at once; the newest checkpoint is whole
// anyway.
extern "C" void on_signal(int signal) {
  if (signal == SIGUSR1) {
    g_signals.save = true;
    return;
  }
  if (signal == SIGINT && g_stop_signal == SIGINT) _exit(kInterrupted);
  g_stop_signal = signal;
  g_signals.stop = true;
}

void catch_signals() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) sigaction(signal, &action, nullptr);
  std::signal(SIGXFSZ, SIG_IGN);  // a file that grows too large is a write error
}

std::string counts(const Split& split) {
  return fmt::format("{} x {}", split.inputs.samples, split.inputs.features);
}

void print_heading(const Config& config, const Dataset& data, const Run& run, const std::string& directory) {
  fmt::print(stderr, "tulle {}   {}   {} threads   seed {}   -> {}\n", kVersion, kernels::current_target(),
             thread_count(), config.run.seed, directory);
  fmt::print(stderr, "data    train {}   valid {}   test {}   {} classes   {}, {}\n", counts(data.train),
             data.valid.inputs.samples, data.test.inputs.samples, data.class_names.size(), data.description,
             data.scaling.kind);
  for (std::size_t l = 0; l < run.model.network.size(); ++l) {
    const Layer& layer = run.model.network.layer(l);
    const auto form = layer.activation().piecewise();
    const std::string slope = form && form->slope != 1.0f ? fmt::format(" {:+g}", form->slope) : "";
    fmt::print(stderr, "layer {:<2} {:>5} x {:<5} nnz {:>8} {:>7.2f} %   {}   {}{}\n", l, layer.outputs(),
               layer.inputs(), layer.connections(),
               100.0 * static_cast<double>(layer.connections()) / (double(layer.inputs()) * layer.outputs()),
               layer.topology() != nullptr ? "sparse" : "dense ", layer.options().activation, slope);
  }
  fmt::print(stderr, "total   nnz {} of {} ({:.2f} %)\n", run.model.network.connections(),
             run.model.network.cells(), 100.0 * run.model.network.density());
}

// Bytes of one checkpoint, for the preflight: every array, and a little for the header.
std::uint64_t checkpoint_bytes(Network& network) {
  std::uint64_t bytes = 1 << 16;
  for (std::size_t l = 0; l < network.size(); ++l)
    bytes += 16 * (static_cast<std::uint64_t>(network.layer(l).outputs()) + 1);
  return bytes + 22 * static_cast<std::uint64_t>(network.connections()) +
         16 * static_cast<std::uint64_t>(network.inputs());
}

InputsRecord inputs_record(const Model& model) {
  InputsRecord record{.height = model.image.height,
                      .width = model.image.width,
                      .channels = model.image.channels,
                      .degree = {}};
  const Layer& first = model.network.layer(0);
  record.degree.assign(static_cast<std::size_t>(first.inputs()),
                       first.topology() == nullptr ? first.outputs() : 0);
  if (first.topology() != nullptr)
    for (const std::int32_t column : first.topology()->columns())
      ++record.degree[static_cast<std::size_t>(column)];
  return record;
}

// What the run learnt and cost, from its own records.
Outcome outcome_of(const Run& run, const EpochRecord& last, double batch_seconds, std::int64_t file_bytes,
                   std::int64_t training_bytes) {
  Outcome outcome;
  outcome.accuracy = last.test_accuracy.value_or(-1.0);
  outcome.loss = last.test_loss.value_or(last.train_loss);
  outcome.nnz = static_cast<double>(run.model.network.connections());
  outcome.density = run.model.network.density();
  outcome.seconds = run.state.seconds;
  outcome.seconds_per_batch = batch_seconds;
  outcome.file_bytes = static_cast<double>(file_bytes);
  outcome.training_bytes = static_cast<double>(training_bytes);
  return outcome;
}

// Keeps the fastest epoch's time per batch and the last record, and passes everything on to the progress
// line.
class Recorder final : public Observer {
 public:
  Recorder(Progress& progress, bool verbose) : progress_(progress), verbose_(verbose) {}
  void on_batch(const Batch& batch) override {
    batches_ = batch.batches;
    progress_.on_batch(batch);
  }
  bool on_epoch(const EpochRecord& record) override {
    last_ = record;
    const PhaseSeconds& p = record.phases;
    const double seconds =
        (p.forward + p.backward + p.update) / static_cast<double>(std::max<std::int64_t>(batches_, 1));
    if (best_batch_seconds_ == 0.0 || seconds < best_batch_seconds_) best_batch_seconds_ = seconds;
    return progress_.on_epoch(record);
  }
  void on_checkpoint(const CheckpointRecord& record) override {
    if (verbose_) fmt::print(stderr, "saved   {} ({})\n", record.path, bytes_text(record.bytes));
  }
  const EpochRecord& last() const { return last_; }
  double batch_seconds() const { return best_batch_seconds_; }
  std::int64_t batches() const { return batches_; }

 private:
  Progress& progress_;
  bool verbose_;
  EpochRecord last_;
  std::int64_t batches_ = 0;
  double best_batch_seconds_ = 0.0;
};

struct Finished {
  int code = kOk;
  Outcome outcome;
};

// One training with one seed, from the data to the result table.
Finished train_once(const Config& config, const Dataset& data, const std::string& checkpoint,
                    const TrainOptions& options) {
  Run run = checkpoint.empty() ? start_run(config, data) : resume_run(config, data, checkpoint);
  const std::string path = (fs::path(config.run.out) / config.run.name).string();
  RunDirectory directory = RunDirectory::open(path, {.predicted_bytes = checkpoint_bytes(run.model.network)});
  if (checkpoint.empty() && !list_checkpoints(path).empty())
    throw Error(ErrorKind::kConfig, {.file = path},
                "the run directory, found checkpoints of an earlier training, expected none; continue it "
                "with --resume "
                "auto or choose another --name");
  write_file_atomically(
      path + "/config.toml",
      effective_config(config, {fmt::format("tulle {} on {}", kVersion, kernels::current_target())}));
  if (!options.quiet) print_heading(config, data, run, path);

  reset_peak_rss();
  const std::int64_t before = current_rss_bytes();
  Progress progress(options.quiet ? "none" : config.log.progress, options.verbose, config.train.epochs,
                    run.state.epoch);
  Recorder recorder(progress, options.verbose);
  const Ending ending = train(run, data, &directory, recorder, g_signals);
  const std::int64_t training_bytes = peak_rss_bytes() - before;

  MetricsFile metrics(path, run.state.step);
  Finished finished;
  if (ending == Ending::kStopped) {
    finished.code = g_stop_signal == SIGINT ? kInterrupted : kTerminated;
    metrics.write(EndRecord{.reason = "stopped", .best_epoch = 0, .exit = finished.code});
    fmt::print(stderr, "stopped after epoch {}, step {}; go on with: tulle train --resume {}\n",
               run.state.epoch, run.state.step, path);
    return finished;
  }
  const std::string model_path = path + "/model.safetensors";
  const std::int64_t bytes = save_model(model_path, run.model);
  finished.outcome = outcome_of(run, recorder.last(), recorder.batch_seconds(), bytes, training_bytes);
  metrics.write(inputs_record(run.model));

  std::optional<Outcome> dense;
  if (config.log.compare_dense != "none" && !g_signals.stop) {
    if (!options.quiet)
      fmt::print(stderr, "dense   the same shape, {}\n",
                 config.log.compare_dense == "train" ? "full training" : "a few batches");
    try {
      dense = run_dense(path, config.log.compare_dense, recorder.batches() * config.train.epochs);
    } catch (const Error& error) {  // the training is done; its result must not be lost for a comparison
      fmt::print(stderr, "tulle: no dense comparison: {}\n", error.what());
    }
  }
  ResultRecord result = result_record(finished.outcome, dense ? &*dense : nullptr);
  if (!data.class_names.empty() && data.test.inputs.samples > 0) {
    result.class_names = data.class_names;
    result.confusion = evaluate(run.model, data.test).confusion;
  }
  metrics.write(result);
  metrics.write(EndRecord{.reason = "finished", .best_epoch = recorder.last().epoch, .exit = kOk});
  if (config.log.report) write_file_atomically(path + "/report.html", html_report(read_metrics(path)));
  if (options.json) {
    fmt::print("{}\n", to_json(result));
  } else if (!options.quiet) {
    print_result(result);
    fmt::print("model   {}\n", model_path);
    if (config.log.report) fmt::print("report  {}/report.html\n", path);
  }
  return finished;
}

// Where a resumed training goes on: its folder, and the checkpoint to start from ("" if there is none yet).
std::string find_checkpoint(const std::string& resume, Config& config) {
  std::vector<std::string> skipped;
  std::string folder = (fs::path(config.run.out) / config.run.name).string();
  if (resume != "auto") {
    if (!fs::exists(resume))
      throw Error(ErrorKind::kMissingInput, {.file = resume}, "cannot resume: no such file or folder");
    if (fs::is_regular_file(resume)) return resume;
    folder = resume;
  }
  std::optional<std::string> newest;
  if (fs::is_directory(folder)) newest = newest_checkpoint(folder, skipped);
  for (const std::string& message : skipped) fmt::print(stderr, "tulle: skipped {}\n", message);
  if (!newest && resume != "auto")
    throw Error(ErrorKind::kMissingInput, {.file = folder}, "checkpoints, found none, expected at least one");
  return newest.value_or("");
}

int run_train(const TrainOptions& options, const ConfigFlags& flags) {
  Config config;
  const bool resumes_folder = !options.resume.empty() && options.resume != "auto";
  std::string config_path = options.config;
  if (config_path.empty() && resumes_folder) {
    const fs::path given = options.resume;
    config_path = ((fs::is_directory(given) ? given : given.parent_path()) / "config.toml").string();
    if (!fs::exists(given))
      throw Error(ErrorKind::kMissingInput, {.file = options.resume},
                  "cannot resume: no such file or folder");
  }
  if (!config_path.empty()) read_config_file(config, config_path);
  flags.apply(config);
  std::vector<std::int64_t> seeds{config.run.seed};
  if (!flags.seed_text().empty()) seeds = parse_seeds(flags.seed_text());
  config.run.seed = seeds.front();
  finish_config(config);
  if (resumes_folder) {  // the run stays where it is, wherever its config says it was
    fs::path folder = fs::absolute(options.resume).lexically_normal();
    if (!fs::is_directory(folder)) folder = folder.parent_path();
    if (!folder.has_filename()) folder = folder.parent_path();
    config.run.out = folder.parent_path().string();
    config.run.name = folder.filename().string();
  }
  const std::string checkpoint = options.resume.empty() ? "" : find_checkpoint(options.resume, config);
  if (seeds.size() > 1 && !options.resume.empty())
    throw Error(ErrorKind::kConfig, "--resume, found several seeds, expected one");

  set_thread_count(static_cast<int>(config.run.threads));
  catch_signals();
  if (seeds.size() == 1) {
    const Dataset data = load_dataset(data_options(config));
    return train_once(config, data, checkpoint, options).code;
  }

  config.run.out = (fs::path(config.run.out) / config.run.name).string();
  std::vector<double> accuracies;
  for (const std::int64_t seed : seeds) {
    config.run.seed = seed;
    config.run.name = fmt::format("seed-{}", seed);
    const Dataset data = load_dataset(data_options(config));  // the validation split depends on the seed
    const Finished finished = train_once(config, data, "", options);
    if (finished.code != kOk) return finished.code;
    accuracies.push_back(finished.outcome.accuracy);
  }
  double mean = 0.0, variance = 0.0;
  for (const double accuracy : accuracies) mean += accuracy / static_cast<double>(accuracies.size());
  for (const double accuracy : accuracies)
    variance += (accuracy - mean) * (accuracy - mean) / static_cast<double>(accuracies.size() - 1);
  if (!options.quiet)
    fmt::print("{} seeds: test accuracy {:.2f} % +- {:.2f}\n", seeds.size(), 100.0 * mean,
               100.0 * std::sqrt(variance));
  return kOk;
}

}  // namespace

Command train_command(CLI::App& app) {
  auto options = std::make_shared<TrainOptions>();
  app.add_option("config", options->config, "TOML file; every key is also a flag");
  app.add_option("--resume", options->resume,
                 "go on from a checkpoint file, from the newest good one in a run directory, or auto: from "
                 "the newest of "
                 "this run, from the start if there is none");
  app.add_flag("--json", options->json, "print the result as one JSON document");
  app.add_flag("-q,--quiet", options->quiet, "print nothing but errors");
  app.add_flag("-v,--verbose", options->verbose, "keep the line of every epoch, tell of checkpoints");
  auto flags = std::make_shared<ConfigFlags>(app, std::vector<std::string>{});
  return [options, flags] { return run_train(*options, *flags); };
}

}  // namespace tulle::cli
