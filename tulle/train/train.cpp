#include "tulle/train/train.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>

#include "tulle/base/clock.h"
#include "tulle/base/error.h"
#include "tulle/base/name_table.h"
#include "tulle/base/parallel.h"
#include "tulle/evolve/importance.h"
#include "tulle/evolve/schedule.h"
#include "tulle/kernels/targets.h"
#include "tulle/nn/loss.h"
#include "tulle/optim/clipping.h"
#include "tulle/report/memory.h"
#include "tulle/train/validation.h"
#include "tulle/vision/smlp_net.h"

namespace tulle {
namespace {

// Everything train() needs beside the run itself, set up once.
struct Machinery {
  const LossInfo& loss;
  LossOptions loss_options;
  std::vector<float> class_weights;
  std::unique_ptr<Optimizer> optimizer;
  Evolution evolution;
  const ScheduleInfo& schedule;
  ScheduleOptions schedule_options;
  const ZetaScheduleInfo& zeta_schedule;
  Interval evolve_every, importance_every, save_every;
};

Machinery make_machinery(const Config& config, const Dataset& data, std::int64_t steps_per_epoch) {
  const Config::Train& t = config.train;
  return {.loss = find_name(losses(), "model.loss", config.model.loss),
          .loss_options = {.label_smoothing = t.label_smoothing},
          .class_weights = class_weights(config, data),
          .optimizer = find_name(optimizers(), "train.optimizer", t.optimizer)
                           .make({.momentum = t.momentum,
                                  .nesterov = t.nesterov,
                                  .weight_decay = t.weight_decay,
                                  .beta1 = t.beta1,
                                  .beta2 = t.beta2}),
          .evolution = evolution_of(config),
          .schedule = find_name(schedules(), "train.schedule", t.schedule),
          .schedule_options = {.rate = t.learning_rate,
                               .minimum_rate = t.minimum_rate,
                               .gamma = t.gamma,
                               .milestones = t.milestones,
                               .warmup_steps =
                                   std::llround(t.warmup_epochs * static_cast<double>(steps_per_epoch)),
                               .total_steps = t.epochs * steps_per_epoch,
                               .steps_per_epoch = steps_per_epoch},
          .zeta_schedule = find_name(zeta_schedules(), "evolve.zeta_schedule", config.evolve.zeta_schedule),
          .evolve_every = parse_interval("evolve.update_every", config.evolve.update_every),
          .importance_every = parse_interval("evolve.importance_every", config.evolve.importance_every),
          .save_every = parse_interval("checkpoint.save_every", config.checkpoint.save_every)};
}

// NaN counts as more than infinity: without the sign, floats are ordered as their bits are, and whole numbers
// compare in vectors.
float largest_magnitude(const Parameter& parameter) {
  std::atomic<std::int32_t> largest = 0;
  parallel_ranges(static_cast<std::int64_t>(parameter.value.size()), kGrain, [&](Range range) {
    std::int32_t here = 0;
    for (std::int64_t i = range.begin; i < range.end; ++i)
      here = std::max(here,
                      std::bit_cast<std::int32_t>(parameter.value[static_cast<std::size_t>(i)]) & 0x7fffffff);
    for (std::int32_t seen = largest; seen < here && !largest.compare_exchange_weak(seen, here);) {
    }
  });
  return std::bit_cast<float>(largest.load());
}

// One training, taken apart so that each piece fits on a page.
class Trainer {
 public:
  Trainer(Run& run, const Dataset& data, RunDirectory* directory, Observer& observer, Signals& signals)
      : run_(run),
        data_(data),
        directory_(directory),
        observer_(observer),
        signals_(signals),
        loader_(data.train, data.scaling, static_cast<int>(run.config.train.batch_size),
                run.config.train.last_batch == "keep", run.model.seed),
        machinery_(make_machinery(run.config, data, loader_.batches())),
        best_(directory),
        width_(run.model.network.panel_width(run.config.train.batch_size)),
        initial_density_(run.config.model.kind == "mlp"
                             ? initial_density(run.config, layer_sizes(run.config, data))
                             : run.config.topology.density) {
    const Augmentation augmentation = parse_augmentation(run.config.data.augment);
    if (!augmentation.none() && data.image.channels == 0)
      throw Error(ErrorKind::kConfig, "data.augment, found some, expected none for data that are no images");
    if (augmentation.mixes() && data.train.classes.empty())
      throw Error(ErrorKind::kConfig,
                  "data.augment, found mixup or cutmix, expected none where samples have no class each");
    loader_.augment(data.image, augmentation, static_cast<std::int32_t>(data.class_names.size()));
    machinery_.loss_options.class_weights = machinery_.class_weights;
    if (SmlpNet* const net = smlp_of(run_.model.network); net != nullptr)
      net->recompute(run_.config.model.recompute);
    for (Parameter* parameter : run_.model.network.parameters()) machinery_.optimizer->prepare(*parameter);
    if (directory_ != nullptr) metrics_.emplace(directory_->path(), run_.state.step);
  }

  Ending train() {
    write(start_record());
    start_exploring();
    bool stopped = false;
    while (!stopped && !is_over()) stopped = !train_epoch() || !finish_epoch();
    if (!saved_) save();
    if (!is_over()) return Ending::kStopped;
    best_.restore(run_);
    return Ending::kFinished;
  }

 private:
  bool is_over() const {
    return run_.state.epoch >= run_.config.train.epochs ||
           (run_.state.batch_in_epoch == 0 && patience_is_over(run_));
  }

  // The batches of one epoch; false if a signal ended it early.
  bool train_epoch() {
    TrainingState& state = run_.state;
    Network& network = run_.model.network;
    if (state.batch_in_epoch == 0) state.loss_sum = 0.0, state.correct = 0, state.samples = 0;
    loader_.start_epoch(static_cast<int>(state.epoch), /*shuffled=*/true);
    phases_ = {};
    seconds_counted_ = 0.0;
    samples_timed_ = 0;
    Clock clock;
    while (state.batch_in_epoch < loader_.batches()) {
      if (signals_.stop) return false;
      clock.restart();
      const bool signals = machinery_.evolution.needs_errors() &&
                           event_follows(state.step + 1, state.batch_in_epoch + 1 == loader_.batches());
      network.keep_errors(signals);
      // Sparse samples stay sparse, but before an event whose rule looks at the inputs of every neuron.
      const bool sparse = data_.train.inputs.is_sparse() && network.takes_sparse() && !signals;
      const Batch batch = sparse ? loader_.get_sparse(state.batch_in_epoch, width_)
                                 : loader_.get(state.batch_in_epoch, width_);
      phases_.data += clock.restart();
      const LossResult loss = forward(batch, state.step);
      if (!std::isfinite(loss.loss_sum)) diverged("loss", loss.loss_sum);
      phases_.forward += clock.restart();
      network.backward();
      phases_.backward += clock.restart();
      machinery_.schedule_options.plateau_factor = state.validation.rate_factor;
      rate_ = learning_rate(machinery_.schedule, machinery_.schedule_options, state.step);
      const std::vector<Parameter*> parameters = network.parameters();
      const Config::Train& t = run_.config.train;
      if (t.clip_norm > 0.0) clip_by_norm(parameters, t.clip_norm);
      if (t.clip_value > 0.0) clip_by_value(parameters, static_cast<float>(t.clip_value));
      for (Parameter* parameter : parameters)
        machinery_.optimizer->step(*parameter, static_cast<float>(rate_));
      check_parameters();
      phases_.update += clock.restart();

      state.loss_sum += loss.loss_sum;
      state.correct += loss.correct;
      state.samples += batch.inputs.batch;
      samples_timed_ += batch.inputs.batch;
      ++state.step;
      ++state.batch_in_epoch;
      saved_ = false;
      observer_.on_batch({state.epoch + 1, state.batch_in_epoch, loader_.batches(),
                          state.loss_sum / static_cast<double>(state.samples)});
      if (state.batch_in_epoch == loader_.batches()) break;  // the rest is finish_epoch()'s
      evolve_if_due(/*epoch_done=*/false);
      save_if_due(/*epoch_done=*/false);
    }
    return true;
  }

  // Outputs and loss of a batch at step number `step` (from 0), ready for the way back.
  LossResult forward(const Batch& batch, std::int64_t step) {
    Network& network = run_.model.network;
    const Pass pass{.training = true, .seed = run_.model.seed, .step = static_cast<std::uint32_t>(step)};
    const Panels<const float> outputs =
        batch.sparse != nullptr ? network.forward(pass, *batch.sparse) : network.forward(pass, batch.inputs);
    return machinery_.loss.compute(outputs, {.classes = batch.classes, .values = batch.targets},
                                   machinery_.loss_options, network.output_gradient());
  }

  // Evaluation, topology event, records, checkpoint; false if the observer ends the training.
  bool finish_epoch() {
    TrainingState& state = run_.state;
    Clock clock;
    EpochRecord record = epoch_record();
    if (data_.test.inputs.samples > 0) {
      const Evaluation test = evaluate(run_.model, data_.test);
      record.test_loss = test.loss;
      record.test_accuracy = test.accuracy;
    }
    if (data_.valid.inputs.samples > 0) {
      const Evaluation valid = evaluate(run_.model, data_.valid);
      record.valid_loss = valid.loss;
      record.valid_accuracy = valid.accuracy;
      best_.judge(valid, run_);
    }
    phases_.eval = clock.seconds();
    // After the evaluation: connections that just grew are noise until they are trained.
    eliminate_if_due();
    evolve_if_due(/*epoch_done=*/true);
    record.phases = phases_;
    record.seconds = training_seconds();
    const double compute = phases_.forward + phases_.backward + phases_.update;
    record.connections_per_second =
        static_cast<double>(record.nnz) * static_cast<double>(samples_timed_) / std::max(compute, 1e-9);
    record.peak_rss = peak_rss_bytes();

    count_seconds();
    ++state.epoch;
    state.batch_in_epoch = 0;
    saved_ = false;
    write(record);
    const bool go_on = observer_.on_epoch(record);
    save_if_due(/*epoch_done=*/true);
    return go_on;
  }

  EpochRecord epoch_record() const {
    const TrainingState& state = run_.state;
    const auto samples = static_cast<double>(std::max<std::int64_t>(state.samples, 1));
    EpochRecord record;
    record.epoch = static_cast<int>(state.epoch) + 1;
    record.step = state.step;
    record.train_loss = state.loss_sum / samples;
    if (!data_.class_names.empty()) record.train_accuracy = static_cast<double>(state.correct) / samples;
    record.learning_rate = rate_;
    record.nnz = run_.model.network.connections();
    record.density = run_.model.network.density();
    record.exploration = exploration();
    for (std::size_t l = 0; l < run_.model.network.size(); ++l) {
      const Layer& layer = run_.model.network.layer(l);
      record.layer_density.push_back(
          static_cast<double>(layer.connections()) /
          (static_cast<double>(layer.inputs()) * static_cast<double>(layer.outputs())));
    }
    return record;
  }

  // Whether `every` falls on step number `step` (from 1), which is the last of its epoch if `epoch_done`.
  bool is_due(const Interval& every, std::int64_t step, bool epoch_done) const {
    const auto count = static_cast<std::int64_t>(every.count);
    if (every.unit == Interval::Unit::kStep) return step % count == 0;
    if (every.unit == Interval::Unit::kEpoch) return epoch_done && step / loader_.batches() % count == 0;
    return every.unit == Interval::Unit::kMinute && since_save_.seconds() >= 60.0 * every.count;
  }

  // Whether the topology changes after step number `step` (from 1), the last of its epoch if `epoch_done`.
  bool event_follows(std::int64_t step, bool epoch_done) const {
    // stop_after is at most 1: what would grow at the very end would stay untrained.
    return machinery_.evolution.drop != nullptr && is_due(machinery_.evolve_every, step, epoch_done) &&
           static_cast<double>(step) < run_.config.evolve.stop_after * total_steps();
  }
  double total_steps() const { return static_cast<double>(machinery_.schedule_options.total_steps); }

  void evolve_if_due(bool epoch_done) {
    if (!event_follows(run_.state.step, epoch_done)) return;
    Clock clock;
    const std::vector<LayerEvolution> events =
        evolve(run_.model.network, machinery_.evolution, event_of(run_.state.step));
    phases_.evolve += clock.seconds();
    for (const LayerEvolution& event : events) {
      CellSet& explored = run_.state.explored[event.layer];
      std::vector<std::uint64_t> cells = event.grown_cells;
      for (std::uint64_t& cell : cells) cell = run_.model.network.original_key(event.layer, cell);
      explored.insert(cells);
      const EvolveRecord record{.epoch = static_cast<int>(run_.state.epoch) + 1,
                                .step = run_.state.step,
                                .layer = static_cast<int>(event.layer),
                                .dropped = event.dropped,
                                .grown = event.grown,
                                .before = event.before,
                                .after = event.after,
                                .regrown = event.regrown,
                                .no_inputs = event.no_inputs,
                                .no_outputs = event.no_outputs,
                                .explored = explored.count() / static_cast<double>(explored.cells())};
      write(record);
      observer_.on_evolve(record);
    }
  }

  // Neurons go before connections do; only between epochs.
  void eliminate_if_due() {
    const Config::Evolve& e = run_.config.evolve;
    const auto start = e.importance_start,
               every = static_cast<std::int64_t>(machinery_.importance_every.count);
    const std::int64_t epoch = run_.state.epoch + 1;
    if (e.importance_percentile <= 0.0 || epoch < start || (epoch - start) % every != 0 ||
        epoch >= run_.config.train.epochs)
      return;
    Clock clock;
    Network& network = run_.model.network;
    ImportanceRecord record{.epoch = static_cast<int>(epoch),
                            .step = run_.state.step,
                            .connections_before = network.connections()};
    if (e.importance_form == "published") {
      prune_as_published(network, e.importance_percentile);
      for (std::size_t l = 0; l + 1 < network.size(); ++l)
        record.neurons.push_back(network.layer(l).outputs());
    } else {
      const ImportanceOptions options{
          .percentile = e.importance_percentile,
          .strength = &find_name(strengths(), "evolve.importance_strength", e.importance_strength),
          .min_neurons = e.min_neurons,
          .cascade = e.cascade};
      bool smaller = false;
      for (const LayerElimination& layer : eliminate_neurons(network, options)) {
        record.neurons.push_back(layer.after);
        smaller = smaller || layer.after < layer.before;
      }
      if (smaller) make_signals_anew();
    }
    record.connections = network.connections();
    phases_.evolve += clock.seconds();
    write(record);
    observer_.on_importance(record);
  }

  // Rules that look at the last batch need it as the smaller network sees it.
  void make_signals_anew() {
    if (!machinery_.evolution.needs_errors() || !event_follows(run_.state.step, /*epoch_done=*/true)) return;
    run_.model.network.keep_errors(true);
    const Batch batch = loader_.get(loader_.batches() - 1, width_);
    forward(batch, run_.state.step - 1);
    run_.model.network.backward();
  }

  EvolveEvent event_of(std::int64_t step) const {
    const Config::Evolve& e = run_.config.evolve;
    const double part = static_cast<double>(step) / total_steps();
    const EvolveProgress progress{.part = part / e.stop_after,
                                  .rate_share = rate_ / std::max(run_.config.train.learning_rate, 1e-300)};
    EvolveEvent event{.seed = run_.model.seed,
                      .step = static_cast<std::uint32_t>(step),
                      .zeta = e.zeta * machinery_.zeta_schedule.factor(progress),
                      .learning_rate = rate_,
                      .optimizer = machinery_.optimizer.get()};
    if (e.final_density > 0.0)
      event.density = cubic_density(initial_density_, e.final_density, part / e.density_until);
    return event;
  }

  // What the training has explored at its start: the connections it has.
  void start_exploring() {
    if (machinery_.evolution.drop == nullptr || !run_.state.explored.empty()) return;
    for (std::size_t l = 0; l < run_.model.network.size(); ++l) {
      const Topology* const topology = run_.model.network.layer(l).topology();
      run_.state.explored.emplace_back(topology == nullptr ? 0 : topology->cells());
      if (topology != nullptr) run_.state.explored[l].insert(topology->keys());
    }
  }

  // Share of all cells that ever were connections.
  std::optional<double> exploration() const {
    if (run_.state.explored.empty()) return std::nullopt;
    double seen = 0.0;
    for (std::size_t l = 0; l < run_.state.explored.size(); ++l)
      seen += run_.state.explored[l].cells() > 0 ? run_.state.explored[l].count()
                                                 : static_cast<double>(run_.model.network.original_cells(l));
    double cells = 0.0;
    for (std::size_t l = 0; l < run_.model.network.size(); ++l)
      cells += static_cast<double>(run_.model.network.original_cells(l));
    return seen / cells;
  }

  void save_if_due(bool epoch_done) {
    const bool asked = signals_.save.exchange(false);
    if (asked || is_due(machinery_.save_every, run_.state.step, epoch_done)) save();
  }

  void save() {
    if (directory_ == nullptr) return;
    count_seconds();
    Clock clock;
    const std::string path = directory_->checkpoint_path(run_.state.step);
    CheckpointRecord record{.step = run_.state.step, .path = path};
    record.bytes = save_model(path, run_.model, &run_.state, directory_->files());
    directory_->prune(run_.state.step, static_cast<int>(run_.config.checkpoint.keep));
    record.seconds = clock.seconds();
    write(record);
    observer_.on_checkpoint(record);
    saved_ = true;
    since_save_.restart();
  }

  // Weights can overflow where the loss does not see it, behind a sigmoid or in the last step. Cost: one read
  // of the weights.
  void check_parameters() {
    for (const Parameter* parameter : run_.model.network.parameters())
      if (const float largest = largest_magnitude(*parameter); !std::isfinite(largest))
        diverged("weights", largest);
  }

  [[noreturn]] void diverged(std::string_view what, double found) {
    std::string where;
    float largest = -1.0f;
    for (const Parameter* parameter : run_.model.network.parameters()) {
      const float here = largest_magnitude(*parameter);
      if (here <= largest) continue;
      where = fmt::format("largest weight {} in {}", largest = here, parameter->name);
      if (!std::isfinite(here)) break;
    }
    throw Error(
        ErrorKind::kDiverged,
        fmt::format("{} in epoch {}, batch {} (step {}), found {}, expected a finite number; {}; try a "
                    "smaller train.learning_rate",
                    what, run_.state.epoch + 1, run_.state.batch_in_epoch + 1, run_.state.step + 1, found,
                    where));
  }

  void count_seconds() {
    run_.state.seconds += training_seconds() - seconds_counted_;
    seconds_counted_ = training_seconds();
  }
  // Of the epoch at work, evaluation and saving aside.
  double training_seconds() const {
    return phases_.data + phases_.forward + phases_.backward + phases_.update + phases_.evolve;
  }

  StartRecord start_record() const {
    StartRecord record;
    record.isa = kernels::current_target();
    record.threads = thread_count();
    record.seed = run_.config.run.seed;
    record.nnz = run_.model.network.connections();
    record.dense = static_cast<std::int64_t>(run_.model.network.cells());
    return record;
  }

  template <class Record>
  void write(const Record& record) {
    if (metrics_) metrics_->write(record);
  }

  Run& run_;
  const Dataset& data_;
  RunDirectory* directory_;
  Observer& observer_;
  Signals& signals_;
  Loader loader_;
  Machinery machinery_;
  BestModel best_;
  int width_;
  double initial_density_;  // of the layers that evolve
  std::optional<MetricsFile> metrics_;
  PhaseSeconds phases_;             // of the epoch at work, as far as this process did it
  double seconds_counted_ = 0.0;    // of those, what state.seconds holds
  std::int64_t samples_timed_ = 0;  // trained on meanwhile
  double rate_ = 0.0;
  bool saved_ = false;  // the state as it is now
  Clock since_save_;
};

}  // namespace

Ending train(Run& run, const Dataset& data, RunDirectory* directory, Observer& observer, Signals& signals) {
  return Trainer(run, data, directory, observer, signals).train();
}

}  // namespace tulle
