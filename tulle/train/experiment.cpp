#include "tulle/train/experiment.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "tulle/base/error.h"
#include "tulle/checkpoint/atomic_file.h"
#include "tulle/kernels/targets.h"
#include "tulle/report/html.h"
#include "tulle/train/plan.h"
#include "tulle/train/report_parts.h"
#include "tulle/version.h"

namespace tulle {
namespace {

// Bytes of one checkpoint, for the preflight: every array, and a little for the header.
std::uint64_t checkpoint_bytes(const Network& network) {
  std::uint64_t bytes = 1 << 16;
  for (std::size_t l = 0; l < network.size(); ++l)
    bytes += 16 * (static_cast<std::uint64_t>(network.outputs(l)) + 1);
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

// What the run learnt and cost. Taken from the finished network and its state, not from the last epoch's
// record: a training that was killed between its last checkpoint and its result is resumed without an epoch.
void add_learnt(const Run& run, const Evaluation* test, Outcome& outcome) {
  const TrainingState& state = run.state;
  if (test != nullptr) {
    if (!run.model.class_names.empty()) outcome.accuracy = test->accuracy;
    outcome.loss = test->loss;
  } else if (state.samples > 0) {
    outcome.loss = state.loss_sum / static_cast<double>(state.samples);
  }
  outcome.nnz = static_cast<double>(run.model.network.connections());
  outcome.density = run.model.network.density();
  outcome.seconds = state.seconds;
}

// Keeps the fastest epoch's time per batch and passes everything on.
class Recorder final : public Observer {
 public:
  explicit Recorder(Observer& observer) : observer_(observer) {}
  void on_batch(const Batch& batch) override {
    batches_ = batch.batches;
    observer_.on_batch(batch);
  }
  double learning_rate(double scheduled) override { return observer_.learning_rate(scheduled); }
  bool on_epoch(const EpochRecord& record) override {
    const PhaseSeconds& p = record.phases;
    const double seconds =
        (p.forward + p.backward + p.update) / static_cast<double>(std::max<std::int64_t>(batches_, 1));
    if (batch_seconds_ == 0.0 || seconds < batch_seconds_) batch_seconds_ = seconds;
    return observer_.on_epoch(record);
  }
  bool is_content() const override { return observer_.is_content(); }
  void on_evolve(const EvolveRecord& record) override { observer_.on_evolve(record); }
  void on_importance(const ImportanceRecord& record) override { observer_.on_importance(record); }
  void on_checkpoint(const CheckpointRecord& record) override { observer_.on_checkpoint(record); }
  double batch_seconds() const { return batch_seconds_; }

 private:
  Observer& observer_;
  std::int64_t batches_ = 0;
  double batch_seconds_ = 0.0;
};

Run begin(const Config& config, const Dataset& data, const std::string& checkpoint, const Share& share) {
  check_plan(config, data, share.ranks);
  return checkpoint.empty() ? start_run(config, data, share) : resume_run(config, data, checkpoint, share);
}

}  // namespace

std::string run_directory_of(const Config& config) {
  return (std::filesystem::path(config.run.out) / config.run.name).string();
}

Start find_start(const std::string& resume, const Config& config, std::vector<std::string>& skipped) {
  const std::string folder = run_directory_of(config);
  Start start;
  if (!std::filesystem::is_directory(folder)) return start;
  start.claimed = RunDirectory::open(folder);
  if (std::filesystem::is_regular_file(resume)) {
    start.checkpoint = resume;
    return start;
  }
  const std::optional<std::string> newest = newest_checkpoint(folder, skipped);
  if (!newest && resume != "auto")
    throw Error(ErrorKind::kMissingInput, {.file = folder}, "checkpoints, found none, expected at least one");
  start.checkpoint = newest.value_or("");
  return start;
}

Experiment::Experiment(const Config& config, const Dataset& data, Start start, const Share& share)
    : config_(config),
      data_(data),
      path_(run_directory_of(config)),
      run_(begin(config, data, start.checkpoint, share)),
      directory_(std::move(start.claimed)) {
  if (share.rank == 0) prepare_directory(start.checkpoint.empty());
}

// The run directory, claimed and with its config; `anew`: without checkpoints.
void Experiment::prepare_directory(bool anew) {
  if (!directory_) directory_ = RunDirectory::open(path_);
  directory_->check_space(checkpoint_bytes(run_.model.network));
  if (anew && !list_checkpoints(path_).empty())
    throw Error(
        ErrorKind::kConfig, {.file = path_},
        "the run directory, found checkpoints of an earlier training, expected none; continue it with "
        "--resume auto or choose another --name");
  write_file_atomically(
      path_ + "/config.toml",
      effective_config(config_, {fmt::format("tulle {} on {}", kVersion, kernels::current_target())}));
}

Ending Experiment::train(Observer& observer, Signals& signals, Communicator* ranks) {
  RunDirectory* directory = directory_ ? &*directory_ : nullptr;
  Recorder recorder(observer);
  const Ending ending = ranks != nullptr ? tulle::train(run_, data_, directory, recorder, signals, *ranks)
                                         : tulle::train(run_, data_, directory, recorder, signals);
  outcome_.training_bytes = static_cast<double>(memory_.peak());
  outcome_.seconds_per_batch = recorder.batch_seconds();
  return ending;
}

void Experiment::record_stop(int exit_code) {
  MetricsFile(path_).write(EndRecord{.reason = "stopped", .best_epoch = 0, .exit = exit_code});
}

ResultRecord Experiment::finish(const std::function<std::optional<Outcome>(std::int64_t)>& dense) {
  MetricsFile metrics(path_);
  outcome_.file_bytes = static_cast<double>(save_model(model_path(), run_.model));
  std::optional<Evaluation> test;
  if (data_.test.inputs.samples > 0) test = evaluate(run_.model, data_.test);
  add_learnt(run_, test ? &*test : nullptr, outcome_);
  metrics.write(inputs_record(run_.model));

  std::optional<Outcome> other;
  if (dense) other = dense(run_.state.step);
  ResultRecord result = result_record(outcome_, other ? &*other : nullptr);
  if (!data_.class_names.empty() && test) {
    result.class_names = data_.class_names;
    result.confusion = test->confusion;
  }
  metrics.write(result);
  const std::int64_t best = run_.state.validation.best_epoch;
  metrics.write(EndRecord{.reason = run_.state.epoch < config_.train.epochs ? "early stopping" : "finished",
                          .best_epoch = static_cast<int>(best > 0 ? best : run_.state.epoch),
                          .exit = 0});
  if (config_.log.report) {
    ReportRun page = read_run(path_);
    add_model(page, run_.model, model_path());
    add_samples(page, run_.model, data_.test);
    write_file_atomically(path_ + "/report.html", html_report({page}));
  }
  return result;
}

}  // namespace tulle
