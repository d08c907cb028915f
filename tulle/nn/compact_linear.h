#pragma once

#include <vector>

#include "tulle/nn/sparse_layer.h"

namespace tulle {

/// Sparse layer of Storage::kCompact, for networks whose connections would not fit otherwise, or whose
/// activations lie in main memory. Each thread owns a range of sources: it walks all connections in the order
/// of targets, takes those from its sources, adds to dx of these sources alone and takes the optimizer's step
/// at once. So nothing has two writers, no gradient needs a place, and no bit depends on the number of
/// threads. The price: every thread reads all errors.
/// Memory: 8 bytes a connection (source, weight) and what the optimizer keeps of it (4 with momentum).
/// Source: column-owned update, docs/scale.md.
class CompactLinear final : public SparseLayer {
 public:
  /// Throws std::invalid_argument if the topology is not outputs x inputs.
  CompactLinear(const LayerOptions& options, Topology topology);

 protected:
  using Layer::multiply;
  void multiply(Panels<const float> x, Panels<float> y, const kernels::Epilogue& epilogue) override;
  /// Throws std::logic_error without a weight step.
  void multiply_back(Panels<const float> x, Panels<const float> dz, Panels<float> dx,
                     const kernels::Gate& gate) override;
  void forget_index() override { shared_among_ = 0; }
  void index() override {}

 private:
  struct Block;
  struct Walk;

  void share_out();
  bool fill(Walk& walk, Block& block) const;
  void sum_biases(Walk& walk, Range rows, Panels<const float> dz, std::int32_t p, const kernels::Gate& gate);
  void learn(Walk& walk, Block& block, Panels<const float> x, Panels<const float> dz, Panels<float> dx);

  int shared_among_ = 0;                                     // threads the ranges below are for
  std::vector<std::int64_t> target_ranges_, source_ranges_;  // nearly equal numbers of connections per thread
};

}  // namespace tulle
