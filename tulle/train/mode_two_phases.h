#pragma once

#include <optional>

#include "tulle/comm/long_phase.h"
#include "tulle/evolve/average.h"
#include "tulle/nn/sparse_layer.h"
#include "tulle/train/modes.h"

namespace tulle {

/// Gives the layer another pattern and its values; nothing of what an optimizer kept stays.
void put_into(SparseLayer& layer, LayerWeights weights);

/// What wasap and wassp have in common: workers with shards of their own, who learn together for the first
/// epochs and then, from what they have, each alone, momentum, topology events and all. After the last epoch
/// rank 0 averages the replicas on the union of their patterns and takes the weakest connections away until
/// every layer has as many as when the workers parted. Source: arXiv 2102.01732, algorithm 1. Its published
/// code overwrites the replicas with the model of the first phase time and again; this one leaves them alone.
///
/// Nothing is saved while replicas differ: a training that was stopped then goes on from where they parted.
class TwoPhases : public Mode {
 public:
  std::int64_t batches(std::int64_t epoch) const final {
    return epoch < parting_ ? shared_batches() : own_.batches();
  }
  void start_epoch(std::int64_t epoch) final;
  Step gradients(bool whole) final;
  bool together() const final { return together_; }
  bool parts_after(std::int64_t epochs) const final {
    return epochs == parting_ && epochs < ranks().run().config.train.epochs;
  }
  bool ends_with_average() const final { return true; }
  bool sees_whole_batch() const final { return !together_; }
  bool stop_asked() const final { return together_ ? shared_stop_asked() : ranks().signals.stop.load(); }
  bool evolves() const final { return together_ || ranks().config().phase2_evolve; }
  std::uint64_t event_seed() const final;
  bool meet(bool go_on) final;
  void end(bool finished) final;

 protected:
  explicit TwoPhases(const Ranks& ranks);

  Loader& own() { return own_; }
  /// Deals out what own() does to another replica of this rank.
  Loader make_own_loader(const Replica& replica) const;
  /// Samples of every worker's shard.
  std::vector<std::int64_t> shard_sizes() const;
  /// Epochs before the workers part.
  std::int64_t parting() const { return parting_; }

  virtual std::int64_t shared_batches() const = 0;
  virtual void start_shared_epoch(std::int64_t epoch) = 0;
  virtual Step shared_gradients() = 0;
  virtual bool shared_stop_asked() const = 0;
  virtual bool shared_meet(bool go_on) { return Mode::meet(go_on); }
  /// The first phase is over, or the training stopped in it.
  virtual void end_sharing(bool stopped) { (void)stopped; }

 private:
  void part();
  void average_replicas();

  Loader own_;
  std::int64_t parting_;
  std::optional<LongPhase> alone_;  // an epoch of the second phase, until replicas meet
  bool together_ = true;
  bool stopped_together_ = false;          // in the second phase
  std::vector<std::int64_t> connections_;  // of each layer at the parting
};

}  // namespace tulle
