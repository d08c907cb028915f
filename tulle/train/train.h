#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "tulle/checkpoint/model_file.h"
#include "tulle/checkpoint/run_directory.h"
#include "tulle/comm/communicator.h"
#include "tulle/optim/optimizer.h"
#include "tulle/optim/schedule.h"
#include "tulle/report/metrics.h"
#include "tulle/train/build.h"
#include "tulle/train/evaluate.h"

namespace tulle {

/// A training between two steps: what it is made from, and where it stands.
struct Run {
  Config config;
  Model model;
  TrainingState state;
  std::string spill{};  // folder of the connections' files (Plan::spill); empty: they are in memory
};

/// What the training tells while it goes on. Every method may be left out.
class Observer {
 public:
  virtual ~Observer() = default;
  struct Batch {
    std::int64_t epoch, batch, batches;
    double loss;  // mean over the epoch so far
  };
  virtual void on_batch(const Batch&) {}
  /// The learning rate of the next step, in place of what the schedule says. With several ranks all must say
  /// the same.
  virtual double learning_rate(double scheduled) { return scheduled; }
  /// False ends the training after a checkpoint.
  virtual bool on_epoch(const EpochRecord&) { return true; }
  /// Whether a training that on_epoch() ended has its result, as after the last epoch. Alone, not among
  /// ranks.
  virtual bool is_content() const { return false; }
  virtual void on_evolve(const EvolveRecord&) {}
  virtual void on_importance(const ImportanceRecord&) {}
  virtual void on_checkpoint(const CheckpointRecord&) {}
};

/// Set from signal handlers or other threads; read between batches.
struct Signals {
  std::atomic<bool> stop{false};  // finish the batch, save, return
  std::atomic<bool> save{false};  // save and go on
};

enum class Ending { kFinished, kStopped };

/// A new training: model built from the config, nothing learnt. Of a network that parallel.mode spreads over
/// ranks, `share` says whose part is built. Throws tulle::Error (kConfig) for a network that cannot be, or if
/// there are fewer samples than one batch needs.
Run start_run(const Config& config, const Dataset& data, const Share& share = {});

/// A training that goes on from a checkpoint. All keys that change the result must be the checkpoint's, but
/// train.epochs may differ, down to the epochs already done: the training then goes on under the new number.
/// What counts from the end (schedules such as cosine, evolve.stop_after, no topology event after the last
/// epoch) follows the new end from here on, so the result is not that of one training of that length.
/// `share` as for start_run(): the whole network then lies in files beside the checkpoint for a while.
/// Throws tulle::Error: kBadData for a damaged file or one that is no checkpoint; kConfig if the network, a
/// key or the data is not the checkpoint's.
Run resume_run(const Config& config, const Dataset& data, const std::string& checkpoint,
               const Share& share = {});

/// The newest checkpoint in `directory` that loads, or none if there are none; files that do not load are
/// reported to `skipped`. Throws tulle::Error (kBadData) if there are checkpoints but none loads.
std::optional<std::string> newest_checkpoint(const std::string& directory, std::vector<std::string>& skipped);

/// Trains run.model to the end of run.config on `data`, or until a signal or the observer stops it. Metrics
/// and checkpoints go to `directory` (null: nowhere). Where there are validation data, the model at the end
/// is that of the epoch checkpoint.best chooses (kept in directory/best-EPOCH.safetensors), before the
/// topology event of that epoch; run.state.validation.best_epoch names it.
///
/// The result depends on the config, the data, the seed and the instruction set, to the last bit, and on
/// nothing else: not on the number of threads, nor on where the training was stopped and resumed. Between
/// instruction sets sums are rounded in another order (panels are as wide as registers suit), so bits differ.
///
/// Throws tulle::Error: kDiverged within the batch that makes the loss or a weight NaN or infinite (the last
/// good checkpoint stays), kCannotWrite, kIo.
/// Threads of each of parallel.ranks replicas: run.threads, or its part of the cores.
int threads_of_replica(const Config& config);

/// Run.config.parallel.ranks replicas learn together in this process, as parallel.mode says: copies of
/// run.model, which ends as the network of all. Only the first one has the directory and the observer.
Ending train(Run& run, const Dataset& data, RunDirectory* directory, Observer& observer, Signals& signals);

/// The same as one rank of several, each with a run and data of its own that must be the same. Rank 0 has the
/// directory and the result; those of the others may be null and, after parallel.mode wasap and wassp, is
/// their own replica. With rows each rank may come with its part alone, and the others end with theirs; rank
/// 0's result lies in files of the directory. Also throws AgreedError if ranks differ in version, instruction
/// set, config, data or network, and tulle::Error (kTemporary) if another rank is not heard of for
/// parallel.timeout seconds.
Ending train(Run& run, const Dataset& data, RunDirectory* directory, Observer& observer, Signals& signals,
             Communicator& comm);

}  // namespace tulle
