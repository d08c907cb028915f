#include "tulle/train/train.h"

#include <fmt/format.h>

#include <algorithm>
#include <future>
#include <utility>

#include "tulle/base/clock.h"
#include "tulle/base/error.h"
#include "tulle/base/parallel.h"
#include "tulle/base/spill.h"
#include "tulle/comm/agreement.h"
#include "tulle/comm/long_phase.h"
#include "tulle/kernels/targets.h"
#include "tulle/optim/averaging.h"
#include "tulle/report/memory.h"
#include "tulle/train/build.h"
#include "tulle/train/course.h"
#include "tulle/train/exploration.h"
#include "tulle/train/journal.h"
#include "tulle/train/modes.h"
#include "tulle/train/rank_checks.h"
#include "tulle/train/saving.h"
#include "tulle/train/saving_parts.h"
#include "tulle/train/topology_events.h"
#include "tulle/train/validation.h"

namespace tulle {
namespace {

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
        course_(run, *mode_, comm.size()),
        journal_(run, directory, observer),
        events_(replica_, data, *mode_, course_, comm, journal_),
        best_(directory, run),
        save_every_(parse_interval("checkpoint.save_every", run.config.checkpoint.save_every)),
        histograms_every_(parse_interval("log.histograms_every", run.config.log.histograms_every)) {
    if (directory != nullptr)
      checkpoints_.emplace(run_, *directory,
                           [this](const CheckpointRecord& record) { journal_.tell(record); });
  }

  Ending train() {
    saves_ = save_together() ? !mode_->meet(!checkpoints_) : checkpoints_.has_value();
    journal_.write(start_record());
    events_.begin();
    mode_->begin();
    if (run_.state.step == 0 && mode_->parts_after(0)) save();
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
    if (chooses_epoch()) best_.restore(run_, changed_);
    return Ending::kFinished;
  }

 private:
  bool is_over() const {
    return run_.state.epoch >= run_.config.train.epochs ||
           (run_.state.batch_in_epoch == 0 && patience_is_over(run_, run_.state.epoch));
  }

  // The batches of one epoch; false if a signal ended it early.
  bool train_epoch() {
    TrainingState& state = run_.state;
    if (state.batch_in_epoch == 0) state.loss_sum = 0.0, state.correct = 0, state.samples = 0;
    bool one_before = mode_->together();  // at the step before
    mode_->start_epoch(state.epoch);
    one_network_ = mode_->together();
    replica_.phases = {};
    seconds_counted_ = 0.0;
    samples_timed_ = 0;
    const std::int64_t batches = mode_->batches(state.epoch);
    while (state.batch_in_epoch < batches) {
      if (mode_->stop_asked() && (mode_->together() || !one_network_)) return false;
      const bool last = state.batch_in_epoch + 1 == batches;
      const bool looked_at = events_.look_at_next_step();
      const bool whole = looked_at && mode_->sees_whole_batch();
      replica_.network().keep_errors(whole);
      const double before = course_.rate_before(std::exchange(one_before, one_network_));
      rate_ = observer_.learning_rate(course_.rate(one_network_));
      if (course_.scales_rate() && before > 0.0) replica_.correct_momentum(rate_ / before);
      replica_.prepare_step(rate_);
      count(mode_->gradients(whole));
      mode_->step(rate_ * rate_factor_);
      count(mode_->stepped(last));
      ++state.step;
      ++state.batch_in_epoch;
      saved_ = false;
      if (looked_at) events_.look(rate_);
      observer_.on_batch({state.epoch + 1, state.batch_in_epoch, batches,
                          state.loss_sum / static_cast<double>(std::max<std::int64_t>(state.samples, 1))});
      if (last) break;  // the rest is finish_epoch()'s
      if (mode_->together()) events_.evolve_if_due(/*epoch_done=*/false, rate_);
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
      const LongPhase phase(comm_, mode_->who_waits());
      evaluate_into(record);
    }
    replica_.phases.eval = clock.seconds();
    // After the evaluation, and never at the end: connections that just grew are noise until they are
    // trained.
    changed_ = false;
    if (!patience_is_over(run_, state.epoch + 1)) {
      changed_ = events_.eliminate_if_due();
      changed_ = events_.evolve_if_due(/*epoch_done=*/true, rate_) || changed_;
    }
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
    const bool histograms = course_.is_due(histograms_every_, /*epoch_done=*/true);
    go_on_ = journal_.tell(told.record, told.parallel, histograms) && go_on_;
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
    if (data_.valid.inputs.samples == 0 || !chooses_epoch()) return;
    std::optional<LongPhase> writes;
    if (directory_ != nullptr) writes.emplace(comm_, LongPhase::Of::kThisRank, seconds_to_write());
    best_.judge(valid, run_);
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
  bool evaluates_meanwhile() const {
    return mode_->is_waited_for() && !journal_.has_tensorboard() &&
           data_.test.inputs.samples + data_.valid.inputs.samples > 0;
  }
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

  bool save_is_due(bool epoch_done) const {
    if (save_every_.unit != Interval::Unit::kMinute) return course_.is_due(save_every_, epoch_done);
    return checkpoints_ && checkpoints_->seconds_since() >= 60.0 * save_every_.count;
  }

  void save_if_due(bool epoch_done) {
    settle_save(/*wait=*/false);
    if (!mode_->together()) return;
    const bool may_save = checkpoints_ || save_together();  // ranks that are threads share the signal
    bool due = (may_save && signals_.save.exchange(false)) || save_is_due(epoch_done) ||
               (epoch_done && mode_->parts_after(run_.state.epoch));
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
      (void)mode_->meet(true);  // one may write for all
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

  Run& run_;
  const Dataset& data_;
  RunDirectory* directory_;
  Observer& observer_;
  Signals& signals_;
  Communicator& comm_;
  Replica replica_;
  std::unique_ptr<Mode> mode_;
  Course course_;
  Journal journal_;
  TopologyEvents events_;
  BestModel best_;
  Interval save_every_, histograms_every_;
  double seconds_counted_ = 0.0;    // of this epoch's, what state.seconds holds
  std::int64_t samples_timed_ = 0;  // trained on meanwhile
  double rate_ = 0.0, rate_factor_ = 1.0;
  bool go_on_ = true;        // whether the observer wants to
  bool one_network_ = true;  // this epoch's steps lead to one network again
  bool changed_ = false;     // the topology, since the last epoch's network was evaluated
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
    check_last_batch(run.config, run.model.network, data, comm.size());
    check_shards(run.config, data, comm.size());
    if (spreads_neurons(run.config) && data.valid.inputs.samples > 0 && run.config.checkpoint.best != "last")
      throw Error(
          ErrorKind::kConfig,
          fmt::format("checkpoint.best, found '{}', expected 'last' with parallel.mode = \"rows\" and "
                      "validation data",
                      run.config.checkpoint.best));
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
