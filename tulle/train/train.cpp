#include "tulle/train/train.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <future>

#include "tulle/base/clock.h"
#include "tulle/base/error.h"
#include "tulle/base/name_table.h"
#include "tulle/base/parallel.h"
#include "tulle/base/spill.h"
#include "tulle/comm/agreement.h"
#include "tulle/comm/long_phase.h"
#include "tulle/evolve/importance.h"
#include "tulle/evolve/schedule.h"
#include "tulle/kernels/targets.h"
#include "tulle/optim/averaging.h"
#include "tulle/report/memory.h"
#include "tulle/report/tensorboard.h"
#include "tulle/train/build.h"
#include "tulle/train/evolving.h"
#include "tulle/train/exploration.h"
#include "tulle/train/modes.h"
#include "tulle/train/rank_checks.h"
#include "tulle/train/saving.h"
#include "tulle/train/saving_parts.h"
#include "tulle/train/validation.h"

namespace tulle {
namespace {

// What decides how a training goes on, set up once.
struct Course {
  Evolution evolution;
  const ScheduleInfo& schedule;
  ScheduleOptions schedule_options;
  const ZetaScheduleInfo& zeta_schedule;
  Interval evolve_every, importance_every, save_every, histograms_every;
};

Course make_course(const Config& config, std::int64_t steps_per_epoch) {
  const Config::Train& t = config.train;
  return {.evolution = evolution_of(config),
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
          .save_every = parse_interval("checkpoint.save_every", config.checkpoint.save_every),
          .histograms_every = parse_interval("log.histograms_every", config.log.histograms_every)};
}

// One training, taken apart so that each piece fits on a page.
class Trainer {
 public:
  Trainer(Run& run, const Dataset& data, RunDirectory* directory, Observer& observer, Signals& signals,
          Communicator& comm)
      : run_(run),
        data_(data),
        directory_(directory),
        observer_(observer),
        signals_(signals),
        comm_(comm),
        replica_(run, data),
        mode_(mode_of(run.config, comm.size()).make({replica_, comm, signals})),
        course_(make_course(run.config, mode_->batches(0))),
        best_(directory),
        initial_density_(run.config.model.kind == "mlp"
                             ? initial_density(run.config, layer_sizes(run.config, data))
                             : run.config.topology.density) {
    if (directory == nullptr) return;
    checkpoints_.emplace(run_, *directory, [this](const CheckpointRecord& record) {
      write(record);
      observer_.on_checkpoint(record);
    });
    metrics_.emplace(directory->path(), run_.state.step);
    if (run.config.log.input_links) {
      course_.evolution.tells_inputs = true;
      input_links_.emplace(directory->path(), run_.state.step);
    }
    if (run.config.log.tensorboard) tensorboard_.emplace(directory->path() + "/tb", run_.state.step);
  }

  Ending train() {
    saves_ = save_together() ? !mode_->meet(!checkpoints_) : checkpoints_.has_value();
    write(start_record());
    if (course_.evolution.drop != nullptr) start_exploring(run_);
    mode_->begin();
    bool stopped = false;
    while (!stopped && !is_over()) stopped = !train_epoch() || !finish_epoch();
    settle_evaluation();
    const bool over = is_over() || (comm_.size() == 1 && observer_.is_content());
    mode_->end(over);
    if (is_part()) {
      const LongPhase phase(comm_, LongPhase::Of::kAllRanks, seconds_to_write());
      saves_ = bring_together(run_, directory_) && checkpoints_;
    }
    if (!saved_) save();
    settle_save(/*wait=*/true);
    if (!over) return Ending::kStopped;
    take_averages(run_.model.network);
    const Spilling files(run_.spill);
    if (chooses_epoch()) best_.restore(run_);
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
    if (state.batch_in_epoch == 0) state.loss_sum = 0.0, state.correct = 0, state.samples = 0;
    mode_->start_epoch(state.epoch);
    one_network_ = mode_->together();
    replica_.phases = {};
    seconds_counted_ = 0.0;
    samples_timed_ = 0;
    const std::int64_t batches = mode_->batches(state.epoch);
    while (state.batch_in_epoch < batches) {
      if (mode_->stop_asked() && (mode_->together() || !one_network_)) return false;
      const bool last = state.batch_in_epoch + 1 == batches;
      const bool looked_at = event_follows_within(course_.evolution.steps_looked_at());
      const bool whole = looked_at && mode_->sees_whole_batch();
      replica_.network().keep_errors(whole);
      course_.schedule_options.plateau_factor = state.validation.rate_factor;
      const double before = rate_at(schedule_step() - 1);
      rate_ = observer_.learning_rate(rate_at(schedule_step()));
      if (scales_rate() && before > 0.0) replica_.correct_momentum(rate_ / before);
      replica_.prepare_step(rate_);
      count(mode_->gradients(whole));
      mode_->step(rate_ * rate_factor_);
      count(mode_->stepped(last));
      ++state.step;
      ++state.batch_in_epoch;
      saved_ = false;
      if (looked_at && course_.evolution.gathers()) gather_scores();
      observer_.on_batch({state.epoch + 1, state.batch_in_epoch, batches,
                          state.loss_sum / static_cast<double>(std::max<std::int64_t>(state.samples, 1))});
      if (last) break;  // the rest is finish_epoch()'s
      if (mode_->together()) evolve_if_due(/*epoch_done=*/false);
      save_if_due(/*epoch_done=*/false);
    }
    return true;
  }

  void count(const Step& step) {
    replica_.check(step.loss);
    run_.state.loss_sum += step.loss.loss_sum;
    run_.state.correct += step.loss.correct;
    run_.state.samples += step.samples;
    samples_timed_ += step.samples;
    rate_factor_ = step.rate_factor;
  }

  // Where the training stands, in steps of its first epoch: those of later ones may be others.
  std::int64_t schedule_step() const {
    const std::int64_t first = course_.schedule_options.steps_per_epoch;
    return run_.state.epoch * first + run_.state.batch_in_epoch * first / mode_->batches(run_.state.epoch);
  }

  // Whether the rate grows with the number of ranks. Source: arXiv 2102.01732, WASSP-SGD.
  bool scales_rate() const {
    const std::string& scale = run_.config.parallel.lr_scale;
    return comm_.size() > 1 &&
           (scale == "linear" || (scale == "auto" && run_.config.parallel.mode == "wassp"));
  }

  double rate_at(std::int64_t schedule_step) const {
    constexpr double kEpochs = 5.0;  // over which it grows
    const std::int64_t step = std::max<std::int64_t>(schedule_step, 0);
    const double rate = learning_rate(course_.schedule, course_.schedule_options, step);
    if (!scales_rate() || !one_network_) return rate;
    const auto epoch = static_cast<double>(step / course_.schedule_options.steps_per_epoch);
    return rate * ((comm_.size() - 1) * std::min(epoch / kEpochs, 1.0) + 1.0);
  }

  // Evaluation, topology event, records, checkpoint; false if the observer ends the training.
  bool finish_epoch() {
    TrainingState& state = run_.state;
    settle_evaluation();
    Clock clock;
    Told told{.record = epoch_record()};
    EpochRecord& record = told.record;
    std::optional<Run> snapshot;
    if (evaluates_meanwhile()) {
      snapshot.emplace(copy_of(run_));
    } else if (evaluates()) {
      const LongPhase phase(comm_, who_waits());
      evaluate_into(record);
    }
    replica_.phases.eval = clock.seconds();
    // After the evaluation: connections that just grew are noise until they are trained.
    eliminate_if_due();
    evolve_if_due(/*epoch_done=*/true);
    const PhaseSeconds& phases = replica_.phases;
    record.phases = phases;
    record.seconds = training_seconds();
    const double compute = phases.forward + phases.backward + phases.update + phases.exchange;
    record.connections_per_second =
        static_cast<double>(record.nnz) * static_cast<double>(samples_timed_) / std::max(compute, 1e-9);
    record.peak_rss = peak_rss_bytes();

    count_seconds();
    ++state.epoch;
    state.batch_in_epoch = 0;
    saved_ = false;
    if (comm_.size() > 1 || run_.config.parallel.mode != "none") {
      told.parallel = mode_->record().value_or(ParallelRecord{});
      told.parallel->epoch = record.epoch;
      told.parallel->sent = comm_.traffic().sent;
      told.parallel->received = comm_.traffic().received;
    }
    if (snapshot)
      start_evaluation(std::move(*snapshot), std::move(told));
    else
      tell(told);
    const bool go_on = mode_->meet(go_on_);
    save_if_due(/*epoch_done=*/true);
    return go_on;
  }

  // What is told of an epoch.
  struct Told {
    EpochRecord record;
    std::optional<ParallelRecord> parallel{};
  };
  void tell(const Told& told) {
    write(told.record);
    if (tensorboard_)
      tensorboard_->write(
          told.record, run_.state.explored,
          is_due(course_.histograms_every, /*epoch_done=*/true) ? &run_.model.network : nullptr);
    if (told.parallel) write(*told.parallel);
    go_on_ = observer_.on_epoch(told.record) && go_on_;
  }

  // Of averages (train.ema_decay) where there are any, then of the weights themselves too.
  void evaluate_into(EpochRecord& record) {
    const auto look = [&](const Split& split) { return evaluated(split); };
    if (run_.config.train.ema_decay > 0.0) {
      score(data_.test, look, record.raw_test_loss, record.raw_test_accuracy);
      score(data_.valid, look, record.raw_valid_loss, record.raw_valid_accuracy);
    }
    const AveragesInPlace averages(run_.model.network);
    score(data_.test, look, record.test_loss, record.test_accuracy);
    const Evaluation valid = score(data_.valid, look, record.valid_loss, record.valid_accuracy);
    if (data_.valid.inputs.samples > 0 && chooses_epoch()) best_.judge(valid, run_);
  }

  template <class Look>
  static Evaluation score(const Split& split, const Look& look, std::optional<double>& loss,
                          std::optional<double>& accuracy) {
    if (split.inputs.samples == 0) return {};
    const Evaluation seen = look(split);
    loss = seen.loss;
    accuracy = seen.accuracy;
    return seen;
  }

  // Workers do not wait for their server while it evaluates: a copy of the network is, on another thread.
  // What is told of the epoch is told when the next one ends, or before a checkpoint.
  bool evaluates_meanwhile() const { return mode_->is_waited_for() && !tensorboard_; }
  void start_evaluation(Run snapshot, Told told) {
    evaluation_ = std::async(std::launch::async, [this, threads = thread_count(), run = std::move(snapshot),
                                                  told = std::move(told)]() mutable {
      const OwnThreads own(threads);
      const auto look = [&](const Split& split) {
        return evaluate(run.model, split, {}, run.config.train.ce_clip);
      };
      score(data_.test, look, told.record.test_loss, told.record.test_accuracy);
      score(data_.valid, look, told.record.valid_loss, told.record.valid_accuracy);
      return told;
    });
  }
  void settle_evaluation() {
    if (!evaluation_.valid()) return;
    const LongPhase phase(comm_, LongPhase::Of::kThisRank);
    tell(evaluation_.get());
  }

  bool chooses_epoch() const { return mode_->alike() && !mode_->ends_with_average(); }
  // Where replicas differ, or workers wait for a server, rank 0 alone looks.
  bool evaluates() const { return mode_->alike() || comm_.rank() == 0; }
  Evaluation evaluated(const Split& split) {
    const double clip = run_.config.train.ce_clip;
    return mode_->alike() ? evaluate(run_.model, split, comm_, clip) : evaluate(run_.model, split, {}, clip);
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
    const Network& network = run_.model.network;
    record.nnz = network.connections();
    record.density = network.density();
    record.exploration = exploration(run_);
    for (std::size_t l = 0; l < network.size(); ++l) {
      record.layer_nnz.push_back(network.connections(l));
      record.layer_density.push_back(
          static_cast<double>(network.connections(l)) /
          (static_cast<double>(network.layer(l).inputs()) * static_cast<double>(network.outputs(l))));
    }
    return record;
  }

  // Whether `every` falls on where the training stands, an epoch's end if `epoch_done`.
  bool is_due(const Interval& every, bool epoch_done) const {
    const auto count = static_cast<std::int64_t>(every.count);
    const bool inside = run_.state.batch_in_epoch > 0;  // of an epoch that is not counted yet
    if (every.unit == Interval::Unit::kStep) return run_.state.step % count == 0;
    if (every.unit == Interval::Unit::kEpoch)
      return epoch_done && (run_.state.epoch + (inside ? 1 : 0)) % count == 0;
    return every.unit == Interval::Unit::kMinute && checkpoints_ &&
           checkpoints_->seconds_since() >= 60.0 * every.count;
  }

  // Whether the topology may change `ahead` steps from now.
  bool may_evolve(std::int64_t ahead) const {
    // stop_after is at most 1: what would grow at the very end would stay untrained.
    return course_.evolution.drop != nullptr && mode_->evolves() && run_.state.stability.stable_step == 0 &&
           static_cast<double>(schedule_step() + ahead) < run_.config.evolve.stop_after * total_steps();
  }
  // Whether it does now.
  bool event_is_due(bool epoch_done) const {
    return is_due(course_.evolve_every, epoch_done) && may_evolve(0);
  }
  // Whether it does after one of the next `steps` steps.
  bool event_follows_within(std::int64_t steps) const {
    const auto count = static_cast<std::int64_t>(course_.evolve_every.count);
    std::int64_t ahead = 0;
    if (course_.evolve_every.unit == Interval::Unit::kStep)
      ahead = count - run_.state.step % count;
    else if (course_.evolve_every.unit == Interval::Unit::kEpoch) {
      ahead = mode_->batches(run_.state.epoch) - run_.state.batch_in_epoch;
      for (std::int64_t epoch = run_.state.epoch + 1; epoch % count != 0 && ahead <= steps; ++epoch)
        ahead += mode_->batches(epoch);
    }
    return ahead > 0 && ahead <= steps && may_evolve(ahead);
  }
  double total_steps() const { return static_cast<double>(course_.schedule_options.total_steps); }

  void evolve_if_due(bool epoch_done) {
    if (!event_is_due(epoch_done)) return;
    const LongPhase phase(comm_, who_waits());
    Clock clock;
    mode_->gather_state();
    if (looks_at_last_step() && !mode_->sees_whole_batch()) make_signals_anew();
    const Spilling files(run_.spill);
    const std::vector<LayerEvolution> events =
        evolve(run_.model.network, course_.evolution, event_of(run_.state.step));
    run_.state.gathered.clear();
    mode_->topology_changed(events);
    if (mode_->alike() && !is_part()) compare_networks(comm_, run_.model.network, run_.state.step);
    replica_.phases.evolve += clock.seconds();
    if (input_links_) write_input_links(*input_links_, run_.state.step, run_.model.network, events);
    for (const LayerEvolution& event : events) {
      explore(run_, event.layer, event.grown_cells);
      const EvolveRecord record{
          .epoch = static_cast<int>(run_.state.epoch) + 1,
          .step = run_.state.step,
          .layer = static_cast<int>(event.layer),
          .dropped = event.dropped,
          .grown = event.grown,
          .before = event.before,
          .after = event.after,
          .regrown = event.regrown,
          .no_inputs = event.no_inputs,
          .no_outputs = event.no_outputs,
          .explored = explored_count(run_, event.layer) /
                      static_cast<double>(run_.model.network.original_cells(event.layer))};
      write(record);
      observer_.on_evolve(record);
    }
    note_survivors(events);
  }

  // The topology stays once the last events left most of it as it was.
  void note_survivors(const std::vector<LayerEvolution>& events) {
    const Config::Evolve& e = run_.config.evolve;
    if (e.stable_events == 0) return;
    const auto share = stable_share(run_.state.stability, events, e.stable_events, e.stable_share);
    if (!share) return;
    run_.state.stability.stable_step = run_.state.step;
    write(StableRecord{.epoch = static_cast<int>(run_.state.epoch) + 1,
                       .step = run_.state.step,
                       .events = e.stable_events,
                       .survivors = *share});
  }

  // Whether an event itself looks at inputs and errors; what was gathered has seen them before.
  bool looks_at_last_step() const {
    return course_.evolution.steps_looked_at() > 0 && !course_.evolution.gathers();
  }

  void gather_scores() {
    const Clock clock;
    if (!mode_->sees_whole_batch()) make_signals_anew();
    gather(run_.model.network, course_.evolution, event_of(run_.state.step), run_.state.gathered);
    replica_.phases.evolve += clock.seconds();
  }

  // Neurons go before connections do; only between epochs.
  void eliminate_if_due() {
    const Config::Evolve& e = run_.config.evolve;
    const auto start = e.importance_start, every = static_cast<std::int64_t>(course_.importance_every.count);
    const std::int64_t epoch = run_.state.epoch + 1;
    if (e.importance_percentile <= 0.0 || epoch < start || (epoch - start) % every != 0 ||
        epoch >= run_.config.train.epochs || !mode_->together())
      return;
    const LongPhase phase(comm_, who_waits());
    Clock clock;
    mode_->gather_state();
    const Spilling files(run_.spill);
    Network& network = run_.model.network;
    ImportanceRecord record{.epoch = static_cast<int>(epoch),
                            .step = run_.state.step,
                            .connections_before = network.connections()};
    if (e.importance_form == "published") {
      prune_as_published(network, e.importance_percentile);
      for (std::size_t l = 0; l < network.size(); ++l)
        if (network.follows(l + 1)) record.neurons.push_back(network.layer(l).outputs());
    } else {
      // The mean over the training samples as the network is now: that over the epoch's steps is the same but
      // for dropout and weights on their way, and would have to be in every checkpoint.
      const bool fold = e.fold == "mean";
      const std::vector<std::vector<double>> means =
          fold ? mean_activations(run_.model, data_.train, run_.config.train.batch_size)
               : std::vector<std::vector<double>>{};
      const ImportanceOptions options{
          .percentile = e.importance_percentile,
          .strength = &find_name(strengths(), "evolve.importance_strength", e.importance_strength),
          .min_neurons = e.min_neurons,
          .cascade = e.cascade,
          .means = means};
      bool smaller = false;
      rename_cells(run_.state.gathered,
                   [&](std::size_t l, std::uint64_t cell) { return network.original_key(l, cell); });
      for (const LayerElimination& layer : eliminate_neurons(network, options)) {
        record.neurons.push_back(layer.after);
        smaller = smaller || layer.after < layer.before;
      }
      rename_cells(run_.state.gathered,
                   [&](std::size_t l, std::uint64_t cell) { return network.current_key(l, cell); });
      if ((smaller || fold) && looks_at_last_step() && mode_->sees_whole_batch() &&
          event_is_due(/*epoch_done=*/true))
        make_signals_anew();
    }
    mode_->topology_changed({});
    record.connections = network.connections();
    replica_.phases.evolve += clock.seconds();
    write(record);
    observer_.on_importance(record);
  }

  // Inputs and errors of the last batch, all of it, as the network sees it now. Every rank computes the same:
  // that is cheaper than to say, and no more than one step's work an event.
  void make_signals_anew() {
    if (!signals_loader_) signals_loader_.emplace(replica_.make_loader());
    signals_loader_->start_epoch(static_cast<int>(run_.state.epoch), /*shuffled=*/true);
    const std::int64_t index = std::min(run_.state.batch_in_epoch, signals_loader_->batches()) - 1;
    replica_.network().keep_errors(true);
    const Batch batch = replica_.get(*signals_loader_, index, {}, /*whole=*/true);
    // A step has measured this batch already.
    std::vector<AlignedVector<float>> statistics;
    Architecture* const net = replica_.network().architecture();
    const std::vector<Statistic> running = net != nullptr ? net->statistics() : std::vector<Statistic>{};
    for (const Statistic& statistic : running) statistics.push_back(*statistic.value);
    replica_.look(
        batch,
        {.training = true, .seed = run_.model.seed, .step = static_cast<std::uint32_t>(run_.state.step - 1)});
    for (std::size_t s = 0; s < running.size(); ++s) *running[s].value = statistics[s];
  }

  EvolveEvent event_of(std::int64_t step) const {
    const Config::Evolve& e = run_.config.evolve;
    const double part = static_cast<double>(schedule_step()) / total_steps();
    const EvolveProgress progress{.part = part / e.stop_after,
                                  .rate_share = rate_ / std::max(run_.config.train.learning_rate, 1e-300)};
    EvolveEvent event{.seed = mode_->event_seed(),
                      .step = static_cast<std::uint32_t>(step),
                      .zeta = e.zeta * course_.zeta_schedule.factor(progress),
                      .learning_rate = rate_,
                      .optimizer = &replica_.optimizer(),
                      .gathered = run_.state.gathered};
    if (e.final_density > 0.0)
      event.density = cubic_density(initial_density_, e.final_density, part / e.density_until);
    return event;
  }

  void save_if_due(bool epoch_done) {
    settle_save(/*wait=*/false);
    if (!mode_->together()) return;
    bool due = signals_.save.exchange(false) || is_due(course_.save_every, epoch_done);
    if (save_together()) due = !mode_->meet(!due);  // all of them, or none
    if (due) save();
  }

  void save() {
    if (!saves_ || !mode_->together()) return;
    settle_evaluation();
    count_seconds();
    mode_->gather_state();
    if (is_part()) {
      const LongPhase phase(comm_, LongPhase::Of::kAllRanks, seconds_to_write());
      save_parts_of(run_, directory_, checkpoints_ ? &*checkpoints_ : nullptr);
    } else if (checkpoints_) {
      const LongPhase phase(comm_, LongPhase::Of::kThisRank, seconds_to_write());
      checkpoints_->save();
    }
    saved_ = true;
  }

  // Parts of the network: this rank has one.
  bool is_part() const { return run_.model.network.spread() != nullptr; }

  // Whether every rank has something that a checkpoint holds.
  bool save_together() const { return is_part() || mode_->shares_state(); }

  // Of a checkpoint, or of files as large, on a disk that takes 10 MB a second.
  double seconds_to_write() const {
    constexpr double kBytes = 16.0;  // of a connection
    return 1e-7 * kBytes * static_cast<double>(run_.model.network.connections());
  }

  // In a phase that takes long.
  LongPhase::Of who_waits() const {
    return mode_->alike() ? LongPhase::Of::kAlike : LongPhase::Of::kThisRank;
  }

  void settle_save(bool wait) {
    if (checkpoints_) checkpoints_->settle(wait);
  }

  void count_seconds() {
    run_.state.seconds += training_seconds() - seconds_counted_;
    seconds_counted_ = training_seconds();
  }
  // Of the epoch at work, evaluation and saving aside.
  double training_seconds() const {
    const PhaseSeconds& p = replica_.phases;
    return p.data + p.forward + p.backward + p.update + p.evolve + p.exchange;
  }

  StartRecord start_record() const {
    StartRecord record;
    record.isa = kernels::current_target();
    record.threads = thread_count();
    record.ranks = comm_.size();
    record.seed = run_.config.run.seed;
    record.nnz = run_.model.network.connections();
    record.dense = static_cast<std::int64_t>(run_.model.network.cells());
    record.data = run_.state.data_identity;
    const Config::Data& data = run_.config.data;
    record.files = data_files({data.train, data.train_labels, data.test, data.test_labels});
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
  Communicator& comm_;
  Replica replica_;
  std::unique_ptr<Mode> mode_;
  Course course_;
  BestModel best_;
  double initial_density_;  // of the layers that evolve
  std::optional<MetricsFile> metrics_;
  std::optional<InputLinksFile> input_links_;
  std::optional<TensorBoardLog> tensorboard_;
  std::optional<Loader> signals_loader_;
  double seconds_counted_ = 0.0;    // of this epoch's, what state.seconds holds
  std::int64_t samples_timed_ = 0;  // trained on meanwhile
  double rate_ = 0.0, rate_factor_ = 1.0;
  bool go_on_ = true;        // whether the observer wants to
  bool one_network_ = true;  // this epoch's steps lead to one network again
  bool saved_ = false;       // the state as it is now
  bool saves_ = false;       // this rank, or with save_together() any
  std::optional<CheckpointWriter> checkpoints_;
  std::future<Told> evaluation_;  // of the epoch before; the first to go
};

}  // namespace

Ending train(Run& run, const Dataset& data, RunDirectory* directory, Observer& observer, Signals& signals,
             Communicator& comm) {
  comm.set_time_limit(run.config.parallel.timeout);
  // What a checkpoint needs to go on alike, whatever the number of ranks then.
  Config::Parallel& parallel = run.config.parallel;
  parallel.mode = mode_of(run.config, comm.size()).name;
  if (parallel.mode == "sync" && parallel.virtual_shards == 0 && run.config.model.kind == "mlp")
    parallel.virtual_shards = comm.size();
  run.model.config = learning_config(run.config);
  std::optional<Trainer> trainer;
  together(comm, [&] {
    if (comm.size() > data.train.inputs.samples && !spreads_neurons(run.config))
      throw Error(ErrorKind::kConfig,
                  fmt::format("parallel.ranks, found {}, expected at most {}, the training samples",
                              comm.size(), data.train.inputs.samples));
    check_last_batch(run.config, data, comm.size());
    if (spreads_neurons(run.config) && comm.size() > 1 && run.model.network.spread() == nullptr)
      run = part_of(run, {comm.rank(), comm.size()});
    if (run.model.network.spread() != nullptr) run.model.network.spread()->connect(comm);
    if (comm.size() > 1 && !spreads_neurons(run.config) && is_compact(run.model.network))
      throw Error(ErrorKind::kConfig, "run.storage, found 'compact', expected 'fast' on several ranks");
    trainer.emplace(run, data, directory, observer, signals, comm);
  });
  if (comm.size() > 1) agree_to_start(comm, run);
  return trainer->train();
}

}  // namespace tulle
