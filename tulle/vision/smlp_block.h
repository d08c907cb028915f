#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tulle/vision/batch_norm.h"
#include "tulle/vision/pointwise.h"

namespace tulle {

/// Memory that the blocks of a network use one after another.
struct BlockScratch {
  Workspace d;                                                         // of the batch
  Workspace a, mixed;                                                  // of a chunk
  Workspace g, normed, hidden, slope, dz, d_mixed, d_normed, partial;  // the same, on the way back
  TileDots dots;
  PanelScratch panels;
};

/// What stochastic depth makes of the two branches: a factor for every token of the batch, null: 1.
struct BranchScales {
  const float* token = nullptr;
  const float* channel = nullptr;
};

/// One block of an sMLPNet: y = x + token mixing, next = y + channel mixing.
///
///   a = GELU(BN1 x), d = depthwise 3 x 3 of a, u = GELU(BN2 d)
///   r = row mixing of u + bias, q = column mixing of u + bias, y = x + [u r q] F^T
///   next = y + W2 GELU(W1 LN(y) + c1) + c2
///
/// A batch goes through in chunks of images. Between two steps that need statistics of the whole batch, a
/// chunk goes through all steps; u, r and q lie side by side in rows of 3 C, as F reads them. Kept for the
/// way back are x (by the caller), y, the hidden sums and one mean and deviation a token: (2 + expansion) C
/// floats a token; everything else is computed again. Source: arXiv 2109.05422, section 3.2.
class SmlpBlock {
 public:
  /// `index` counts over the network. The layers fuse (3 C -> C), first (C -> expansion C) and second
  /// (expansion C -> C) must outlive the block.
  SmlpBlock(int index, const Grid& grid, Layer& fuse, Layer& first, Layer& second, bool bf16);

  std::int64_t tiles(std::int64_t images) const;
  std::vector<Parameter*> parameters();
  void add_arrays(std::vector<NamedArray>& arrays);
  void add_statistics(std::vector<Statistic>& statistics);
  /// Draws start values as PyTorch does: uniform in 1 / sqrt(inputs) of everything but norms.
  void draw(std::uint64_t seed);

  /// Whether the hidden sums are computed again on the way back instead of kept: half the memory, one product
  /// more; the same bits.
  void recompute(bool recompute) { recompute_ = recompute; }
  /// As Network::keep_errors().
  void keep_errors(bool keep) {
    for (Pointwise* layer : {&fuse_, &first_, &second_}) layer->keep_panels(keep);
  }
  /// As Architecture::share_batches().
  void share_batches(Communicator* comm) {
    norm1_.share_batches(comm);
    norm2_.share_batches(comm);
  }
  /// To be called when parameters have changed.
  void prepare(bool with_back);
  /// One training pass. in: the moments of x; out: gets those of next, of tiles(images) tiles.
  void forward(std::int64_t images, const float* x, const BranchScales& scales, const TileMoments& in,
               float* next, TileMoments& out, BlockScratch& scratch);
  /// From g = dL/dnext of the last forward pass, once: g = dL/dx, and the gradients of all parameters.
  void backward(std::int64_t images, const float* x, const BranchScales& scales, float* g,
                BlockScratch& scratch);

  /// Evaluation: x becomes next in place, with the norms of the running statistics, which prepare_inference()
  /// takes over.
  void prepare_inference();
  void run(std::int64_t images, float* x, BlockScratch& scratch) const;

  std::int64_t other_weights() const;
  /// fuse, first or second.
  Pointwise& layer(std::size_t number) { return number == 0 ? fuse_ : number == 1 ? first_ : second_; }

 private:
  std::int64_t channels() const { return grid_.channels; }
  void activate(const Chunk& chunk, const float* x, float* a) const;
  void convolve_line(const float* a, std::int64_t line, float* out) const;
  void mix_line(bool is_row, std::int64_t line, float* mixed) const;
  void mix(std::int64_t images, float* mixed) const;
  void mix_back(const Chunk& chunk, const float* mixed, float* d_mixed, BlockScratch& scratch);
  const float* scaled(const float* g, const float* scale, std::int64_t rows, BlockScratch& scratch) const;
  void channel_mix_back(const Chunk& chunk, const BranchScales& scales, float* g, BlockScratch& scratch);
  void token_mix_back(const Chunk& chunk, std::int64_t first_tile, const float* x, const BranchScales& scales,
                      const float* g, float* work, BlockScratch& scratch);
  void convolve_back(const Chunk& chunk, const float* x, float* work, BlockScratch& scratch);

  Grid grid_;
  std::string token_name_, channel_name_;
  BatchNorm norm1_, norm2_;
  Parameter depthwise_;                    // [C][3][3]
  Parameter row_weight_, row_bias_;        // W x W, W
  Parameter column_weight_, column_bias_;  // H x H, H
  Pointwise fuse_;
  Parameter layer_norm_weight_, layer_norm_bias_;
  Pointwise first_, second_;

  AlignedVector<float> taps_, flipped_;  // [3][3][C], and with both axes reversed
  bool recompute_ = false;
  TileMoments d_moments_;
  AlignedVector<float> y_, z_, mean_, rstd_;  // of the batch
};

}  // namespace tulle
