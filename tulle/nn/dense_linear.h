#pragma once

#include "tulle/nn/layer.h"

namespace tulle {

/// A layer in which every connection exists: weights are a plain row-major [outputs][inputs] array, products
/// are dense (kernels/gemm.h) on tiles that depend on the shape alone. Used where the wanted density is 1,
/// and for the dense network that sparse ones are compared with.
class DenseLinear final : public Layer {
 public:
  /// Ranges of outputs that are cut at its multiples give the bits of the layer as a whole.
  static constexpr std::int32_t kTile = 64;

  /// Weights and biases start at 0.
  explicit DenseLinear(const LayerOptions& options);

 protected:
  using Layer::multiply;
  using Layer::multiply_back;
  void multiply(Panels<const float> x, Panels<float> y, const kernels::Epilogue& epilogue) override;
  void multiply_back(Panels<const float> x, Panels<const float> dz, Panels<float> dx,
                     const kernels::Gate& gate) override;
};

}  // namespace tulle
