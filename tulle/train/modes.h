#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "tulle/comm/communicator.h"
#include "tulle/comm/long_phase.h"
#include "tulle/comm/sum_exchange.h"
#include "tulle/evolve/evolve.h"
#include "tulle/train/forecast.h"
#include "tulle/train/replica.h"

namespace tulle {

/// What one step did, of all ranks that share it.
struct Step {
  LossResult loss{};
  std::int64_t samples = 0;
  double rate_factor = 1.0;
};

/// What a mode works with. All of it outlives the mode.
struct Ranks {
  Replica& replica;  // this rank's
  Communicator& comm;
  const Signals& signals;

  Run& run() const { return replica.run(); }
  const Config::Parallel& config() const { return replica.run().config.parallel; }
};

/// How the ranks of a training share its steps. One object a rank; all ranks' objects are called alike.
class Mode {
 public:
  explicit Mode(const Ranks& ranks) : ranks_(ranks) {}
  virtual ~Mode() = default;
  Mode(const Mode&) = delete;
  Mode& operator=(const Mode&) = delete;

  /// Before the first step; a rank that only works for another does so here.
  virtual void begin() {}
  /// Steps of epoch number `epoch`.
  virtual std::int64_t batches(std::int64_t epoch) const = 0;
  virtual void start_epoch(std::int64_t epoch) = 0;
  /// The gradients of the step that run.state stands before, in the network's parameters: the mean over all
  /// samples that the ranks share. `whole`: a topology event follows that looks at inputs and errors.
  virtual Step gradients(bool whole) = 0;
  /// The optimizer's step with these gradients.
  virtual void step(double rate) { ranks_.replica.step(rate); }
  /// After that; what of loss and samples is known only now.
  virtual Step stepped(bool epoch_done) {
    (void)epoch_done;
    return {};
  }
  /// Whether this network is that of the training: only then may it be evaluated, saved and changed.
  virtual bool together() const { return true; }
  /// Whether every rank takes these steps with the same network, so that all may look at it together.
  virtual bool alike() const { return together(); }
  /// Whether other ranks cannot go on while this one does something else than steps.
  virtual bool is_waited_for() const { return false; }
  /// In a phase that takes long.
  LongPhase::Of who_waits() const { return alike() ? LongPhase::Of::kAlike : LongPhase::Of::kThisRank; }
  /// Whether replicas go their own ways after so many epochs: that is where a training goes on that is
  /// stopped later.
  virtual bool parts_after(std::int64_t epochs) const {
    (void)epochs;
    return false;
  }
  /// Whether the result is an average made after the last epoch, not the network of one.
  virtual bool ends_with_average() const { return false; }
  /// Whether the inputs and errors of the last step are those of the whole batch.
  virtual bool sees_whole_batch() const { return false; }
  /// Whether someone asked to stop, and every rank knows.
  virtual bool stop_asked() const = 0;
  /// Whether the topology may change now.
  virtual bool evolves() const { return true; }
  /// Whether ranks keep parts of the optimizer's state between steps; gather_state() brings it together, on
  /// all of them, for topology events, checkpoints and the end.
  virtual bool shares_state() const { return false; }
  virtual void gather_state() {}
  /// After a topology event, on the network of the training; no `events`: neurons were eliminated.
  virtual void topology_changed(std::span<const LayerEvolution> events) { (void)events; }
  /// Which seed topology events of this replica draw from: its own where replicas go their own ways.
  virtual std::uint64_t event_seed() const { return ranks_.run().model.seed; }
  /// At the end of an epoch: whether all ranks want to go on.
  virtual bool meet(bool go_on);
  /// After the last step, of a training that is over or was stopped.
  virtual void end(bool finished) { (void)finished; }
  /// What is to be told of the epoch.
  virtual std::optional<ParallelRecord> record() { return std::nullopt; }

 protected:
  const Ranks& ranks() const { return ranks_; }

 private:
  Ranks ranks_;
};

struct ModeInfo {
  std::string_view name;
  std::string_view help;
  std::string_view source;
  std::unique_ptr<Mode> (*make)(const Ranks&);
  ForecastMode* forecast;
  bool own_batches = false;  // train.batch_size is that of each rank, not of all together
};

std::span<const ModeInfo> modes();

/// The mode of a training on so many ranks: "none" is "sync" on several, or with virtual shards, so that the
/// bits are those of several. Throws tulle::Error (kConfig) for
/// what the mode cannot do.
const ModeInfo& mode_of(const Config& config, int ranks);

std::unique_ptr<Mode> make_single(const Ranks&);
std::unique_ptr<Mode> make_sync(const Ranks&);
std::unique_ptr<Mode> make_wasap(const Ranks&);
std::unique_ptr<Mode> make_wassp(const Ranks&);
std::unique_ptr<Mode> make_local_sgd(const Ranks&);
std::unique_ptr<Mode> make_rows(const Ranks&);

/// A rank's or shard's part of each batch: of images cut at any sample, as every rank needs one, of others
/// where panels end.
Loader::Part part_of_batch(const Config& config, int part, int parts);

/// parallel.wire.
SumExchange::Wire wire_of(const Config::Parallel& config);

}  // namespace tulle
