#pragma once

#include <memory>

#include "tulle/nn/layer.h"
#include "tulle/sparse/topology_update.h"

namespace tulle {

/// A layer that stores and computes only the connections of its topology; how it keeps them is the
/// subclass's business (nn/storage.h). Weights and biases start at 0.
class SparseLayer : public Layer {
 public:
  const Topology* topology() const override { return &topology_; }

  /// Takes the new topology; weights and optimizer state of kept connections move with them bit for bit,
  /// grown ones start at `grown_values`, one each in their order, and with zero state. Weights in bfloat16
  /// are to be widened before and narrowed after. Memory: the update, and one array at a time.
  void replace(TopologyUpdate update, std::span<const float> grown_values);

  /// The same in place where rows stay as long: rewrite(columns) changes sources, ascending within each row,
  /// and with them what is kept of their connections. Throws as Topology does for what is no pattern then.
  void rewrite_columns(const std::function<void(std::span<std::int32_t> columns)>& rewrite);

  void set_weight_step(WeightStep step) override;

 protected:
  /// Throws std::invalid_argument if the topology is not outputs x inputs.
  SparseLayer(const LayerOptions& options, Topology topology, bool keeps_gradients);

  /// Takes the optimizer's step on the connections from `begin` on, one for each of `gradients`.
  void take_step(std::int64_t begin, std::span<const float> gradients);

  /// The topology is about to be another one, or is.
  virtual void forget_index() = 0;
  virtual void index() = 0;

  Topology topology_;
  WeightStep step_;

 private:
  const bool keeps_gradients_;  // without a weight step
};

/// The layer that options.storage asks for.
std::unique_ptr<SparseLayer> make_sparse_layer(const LayerOptions& options, Topology topology);

}  // namespace tulle
