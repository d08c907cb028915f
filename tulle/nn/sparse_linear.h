#pragma once

#include "tulle/kernels/narrow.h"
#include "tulle/nn/sparse_layer.h"

namespace tulle {

/// Sparse layer of Storage::kFast.
/// With Precision::kBf16 inputs and errors are rounded to bfloat16 as they are multiplied; weights, gradients
/// and sums stay floats, and the gradient is that of the rounded inputs. Widths are then 32 or more. Cost per
/// batch: forward 2 * nnz * batch flop, backward 4 * nnz * batch; memory 32 bytes per connection while
/// training with momentum (value, gradient in both orders, momentum, column, target, position, slot).
class SparseLinear final : public SparseLayer {
 public:
  /// Throws std::invalid_argument if the topology is not outputs x inputs.
  SparseLinear(const LayerOptions& options, Topology topology);

  bool takes_sparse() const override { return options().precision == Precision::kFloat; }
  using Layer::backward;
  void backward(const SparseBatch& x, Panels<const float> dz) override;

 protected:
  void multiply(const SparseBatch& x, Panels<float> y, const kernels::Epilogue& epilogue) override;
  void multiply(Panels<const float> x, Panels<float> y, const kernels::Epilogue& epilogue) override;
  void multiply_back(Panels<const float> x, Panels<const float> dz, Panels<float> dx,
                     const kernels::Gate& gate) override;
  void index() override;

 private:
  void bring_gradients_home(Panels<const float> errors);
  void share_out();
  template <class Element>
  void forward_rows(const Element* x, int stride, Panels<float> y, const kernels::Epilogue& epilogue);
  template <class Element>
  void back(const Element* x, const Element* dz, int stride, Panels<const float> errors, Panels<float> dx,
            const kernels::Gate& gate);
  template <class Element>
  void back_by_source(Range sources, const Element* x, const Element* dz, int stride,
                      Panels<const float> shape, Panels<float> dx, const kernels::Gate& gate,
                      std::vector<float>& block);

  RowTiles by_target_;
  SourceIndex by_source_;
  int shared_among_ = 0;                                     // threads the ranges below are for
  std::vector<std::int64_t> target_ranges_, source_ranges_;  // nearly equal numbers of connections per thread
  std::vector<std::vector<float>> blocks_;                   // weights of a few sources, one per thread
  std::vector<float> gradients_by_source_;
  // Of sparse samples: connections from the features that occur, and a line of sums for each thread.
  std::vector<std::int64_t> active_begin_;
  std::vector<std::int32_t> active_targets_;
  std::vector<float> active_weights_;
  std::vector<std::vector<float>> lines_;
  AlignedVector<kernels::Bf16Pair> x_pairs_,
      dz_pairs_;  // kBf16: of the last forward pass, and of this way back
};

}  // namespace tulle
