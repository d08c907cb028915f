#include <algorithm>

#include "tulle/recover/gated_design.h"
#include "tulle/recover/recovery.h"

namespace tulle {

std::int64_t SparseNet::nonzeros() const {
  std::int64_t sum = weights.nonzeros() + output.nonzeros();
  for (const SparseWeights& layer : below) sum += layer.nonzeros();
  return sum;
}

std::int64_t SparseNet::unfused_nonzeros() const {
  return nonzeros() + (fused() ? static_cast<std::int64_t>(weights.blocks().size()) : 0);
}

Samples hidden_samples(const Samples& x, const SparseWeights& layer) {
  const std::span<const SparseWeights::Block> blocks = layer.blocks();
  Samples hidden(x.count(), static_cast<std::int32_t>(blocks.size()));
  parallel_ranges(static_cast<std::int64_t>(blocks.size()), 1, [&](Range range) {
    double t[kernels::kTileRows];
    for (std::int64_t b = range.begin; b < range.end; ++b) {
      const SparseWeights::Block& block = blocks[static_cast<std::size_t>(b)];
      float* const to = hidden.column(b);
      for (std::int64_t i = 0; i < x.padded(); i += kernels::kTileRows) {
        const std::int64_t rows = std::min(kernels::kTileRows, x.padded() - i);
        kernels::combine_columns(x.data() + i, x.stride(), layer.feature().data() + block.begin,
                                 layer.values().data() + block.begin, block.end - block.begin, rows, t);
        for (std::int64_t k = 0; k < rows; ++k)
          to[i + k] = static_cast<float>(std::max(block.sign * t[k], 0.0));
      }
    }
  });
  return hidden;
}

std::vector<double> net_outputs(const Samples& x, const SparseNet& net) {
  const Samples* inputs = &x;
  Samples hidden;
  for (const SparseWeights& layer : net.below) {
    Samples next = hidden_samples(*inputs, layer);
    hidden = std::move(next);
    inputs = &hidden;
  }
  if (net.fused()) {
    std::vector<double> y(static_cast<std::size_t>(x.padded()), 0.0);
    if (inputs->features() > 0 && net.weights.nonzeros() > 0)
      GatedDesign(*inputs, net.weights.neurons(), GatedDesign::minimum_workspace()).outputs(net.weights, y);
    return y;
  }
  std::vector<double> y(static_cast<std::size_t>(net.output.neurons() * x.padded()), 0.0);
  const Samples last = hidden_samples(*inputs, net.weights);
  const std::span<const SparseWeights::Block> present = net.weights.blocks();
  for (const SparseWeights::Block& row : net.output.blocks())
    for (std::int64_t k = row.begin; k < row.end; ++k) {
      const std::int64_t neuron = net.output.feature()[static_cast<std::size_t>(k)];
      const SparseWeights::Block* const block = net.weights.find(neuron);
      if (block == nullptr) continue;
      const float* const column = last.column(block - present.data());
      const double weight = net.output.values()[static_cast<std::size_t>(k)];
      double* const to = y.data() + row.neuron * x.padded();
      for (std::int64_t i = 0; i < x.padded(); ++i) to[i] += weight * static_cast<double>(column[i]);
    }
  return y;
}

}  // namespace tulle
