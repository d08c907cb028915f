#pragma once

#include "tulle/kernels/narrow.h"
#include "tulle/nn/sparse_layer.h"

namespace tulle {

/// Sparse layer of Storage::kFast.
/// With Precision::kBf16 inputs and errors are rounded to bfloat16 as they are multiplied; weights, gradients
/// and sums stay floats, and the gradient is that of the rounded inputs. Widths are then 32 or more. Cost per
/// batch: forward 2 * nnz * batch flop, backward 4 * nnz * batch. Memory while training with momentum: 22
/// bytes per connection (value 4, momentum 4, source 4, target 2, position 4, slot 4), 2 more in layers of
/// more than 65536 outputs, 4 more where gradients are kept (without a weight step), and scratch that all
/// layers of a network share: 4 bytes per connection of the largest one. A first layer whose inputs are
/// panels and make a single tile needs no order of sources: 12 in place of 22.
class SparseLinear final : public SparseLayer {
 public:
  /// Throws std::invalid_argument if the topology is not outputs x inputs.
  SparseLinear(const LayerOptions& options, Topology topology);

  bool takes_sparse() const override { return options().precision == Precision::kFloat; }
  using Layer::backward;
  void backward(const SparseBatch& x, Panels<const float> dz) override;

 protected:
  using Layer::multiply;
  using Layer::multiply_back;
  void multiply(const SparseBatch& x, Panels<float> y, const kernels::Epilogue& epilogue) override;
  void multiply(Panels<const float> x, Panels<float> y, const kernels::Epilogue& epilogue) override;
  void multiply_back(Panels<const float> x, Panels<const float> dz, Panels<float> dx,
                     const kernels::Gate& gate) override;
  void forget_index() override;
  void index() override;

 private:
  // Connections of a few sources as the kernels read them.
  struct Block {
    std::vector<float> weights;
    std::vector<std::int32_t> targets;
  };

  void index_sources();
  void share_out();
  void share_out_sources();
  Range rows_of(std::size_t part) const { return {target_ranges_[part], target_ranges_[part + 1]}; }
  float* scratch(bool zeroed = false);
  const std::int32_t* targets_of(Range connections, Block& block) const;
  void bring_gradients_home(Panels<const float> errors);
  template <class Element>
  void forward_rows(const Element* x, int stride, Panels<float> y, const kernels::Epilogue& epilogue);
  template <class Element>
  void back(const Element* x, const Element* dz, int stride, Panels<const float> errors, Panels<float> dx,
            const kernels::Gate& gate);
  template <class Element>
  void back_by_source(Range sources, const Element* x, const Element* dz, int stride,
                      Panels<const float> shape, Panels<float> dx, const kernels::Gate& gate, Block& block);

  RowTiles by_target_;
  std::optional<SourceIndex> by_source_;                     // made when first needed
  int shared_among_ = 0;                                     // threads the ranges below are for
  std::vector<std::int64_t> target_ranges_, source_ranges_;  // nearly equal numbers of connections per thread
  std::vector<Block> blocks_;                                // one per thread
  // Of sparse samples: connections from the features that occur, and a line of sums for each thread.
  std::vector<std::int64_t> active_begin_;
  std::vector<std::int32_t> active_targets_;
  std::vector<float> active_weights_;
  std::vector<std::vector<float>> lines_;
  AlignedVector<kernels::Bf16Pair> x_pairs_,
      dz_pairs_;  // kBf16: of the last forward pass, and of this way back
};

}  // namespace tulle
