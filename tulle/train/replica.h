#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "tulle/comm/part_exchange.h"
#include "tulle/data/loader.h"
#include "tulle/nn/loss.h"
#include "tulle/optim/optimizer.h"
#include "tulle/report/metrics.h"
#include "tulle/train/train.h"

namespace tulle {

/// One copy of the network at work: batches become gradients, gradients become steps.
class Replica {
 public:
  /// Both must outlive it. Throws tulle::Error (kConfig) for images that cannot be augmented as asked.
  Replica(Run& run, const Dataset& data);

  Run& run() { return run_; }
  const Run& run() const { return run_; }
  const Dataset& data() const { return data_; }
  Network& network() { return run_.model.network; }
  const Optimizer& optimizer() const { return *optimizer_; }

  /// Deals out the training samples, or one worker's.
  Loader make_loader(const Shard& shard = {}) const;

  /// A batch, or part of one, as the network takes it; `whole`: with every input there, for rules that look
  /// at the inputs and errors of every neuron.
  Batch get(Loader& loader, std::int64_t index, Loader::Part part = {}, bool whole = false);

  /// The rate of the step that the next learn() is for: unless something needs their gradients, sparse layers
  /// take it there.
  void prepare_step(double rate);

  /// Loss of a batch, and its mean gradients in the network's parameters, or the step already taken with them
  /// (prepare_step()). layer_done as in Network::backward(). Throws tulle::Error (kDiverged) before a step is
  /// taken with a loss that is no number.
  LossResult learn(const Batch& batch, const Pass& pass,
                   const std::function<void(std::size_t)>& layer_done = nullptr);

  /// The passes alone, without a step: inputs and errors are left behind in the network.
  void look(const Batch& batch, const Pass& pass);

  /// One step of the optimizer with the gradients that are kept. `parts`: each rank takes that of its own
  /// entries, and gets the others' values.
  void step(double rate, PartExchange* parts = nullptr);

  /// The rate changed by `factor`: velocities that hold the rate follow it (set-sgd).
  void correct_momentum(double factor);

  /// Throws tulle::Error (kDiverged) if a loss or a weight is no number any more.
  void check(const LossResult& loss) const;
  void check_parameters() const;

  PhaseSeconds phases;  // where the time went; the owner sets it back

 private:
  [[noreturn]] void diverged(std::string_view what, double found) const;

  Run& run_;
  const Dataset& data_;
  const bool keeps_gradients_;  // of sparse layers
  const LossInfo& loss_;
  std::vector<float> class_weights_;
  LossOptions loss_options_;
  std::unique_ptr<Optimizer> optimizer_;
  Augmentation augmentation_;
  std::atomic<bool> overflowed_{false};  // a weight whose gradient is not kept
};

/// The same network, learning state and all; without a name of its own.
Run copy_of(Run& run);
/// One rank's part of it, for parallel.mode = "rows".
Run part_of(Run& whole, const Share& share);

}  // namespace tulle
