#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "tulle/nn/architecture.h"
#include "tulle/nn/network.h"
#include "tulle/vision/patches.h"
#include "tulle/vision/smlp_block.h"
#include "tulle/vision/smlp_shape.h"

namespace tulle {

/// What an image goes through before its first patch: pixels around it up to the size of the network.
struct SmlpInput {
  int height = 0, width = 0;     // of the images in the data; 0: the network's
  std::vector<float> padding{};  // value of each channel around them, after scaling; empty: 0
};

/// sMLPNet: patches, stages of blocks with merges of 2 x 2 tokens between them, norm, mean over the tokens,
/// linear layer. Images come as planes, [channel][row][column], one in each lane of a panel. Three layers of
/// the Network belong to each block, in the order fuse, first, second of the channel mixing.
/// Cost of a training step: 3 times that of a forward pass and about a tenth more; memory: see SmlpBlock.
/// Source: arXiv 2109.05422; deviations are listed in docs/vision.md.
class SmlpNet final : public Architecture {
 public:
  /// `layers`: fuse, first and second of each block; they must outlive the architecture.
  SmlpNet(const SmlpShape& shape, const SmlpInput& input, std::span<Layer* const> layers, bool bf16 = false);

  std::int32_t inputs() const override;
  std::int32_t outputs() const override { return shape_.classes; }
  std::vector<Parameter*> parameters() override;
  std::vector<NamedArray> arrays() override;
  std::vector<Statistic> statistics() override;
  std::int64_t other_weights() const override;
  bool follows(std::size_t l) const override { return l % 3 == 2; }
  double activated(double z) const override;

  std::unique_ptr<Architecture> over(std::span<Layer* const> layers) const override;
  void share_batches(Communicator* comm) override;
  Panels<const float> forward(const Pass& pass, Panels<const float> x) override;
  Panels<float> output_gradient() override;
  void backward() override;
  void keep_errors(bool keep) override {
    for (SmlpBlock& block : blocks_) block.keep_errors(keep);
  }
  Panels<const float> layer_inputs(std::size_t l) override {
    return blocks_[l / 3].layer(l % 3).last_inputs();
  }
  Panels<const float> errors(std::size_t l) override { return blocks_[l / 3].layer(l % 3).last_errors(); }
  std::unique_ptr<Runner> make_runner(Precision precision) override;

  const SmlpShape& shape() const { return shape_; }
  const SmlpInput& input() const { return input_; }
  /// Whether products round to bfloat16.
  bool bf16() const { return bf16_; }
  /// See SmlpBlock::recompute(); not kept in files.
  void recompute(bool recompute) {
    recompute_ = recompute;
    for (SmlpBlock& block : blocks_) block.recompute(recompute);
  }
  /// Start values of all arrays but those of layers.
  void draw(std::uint64_t seed);
  /// The same with copies of its arrays over other layers, rounding to bfloat16 or not.
  std::unique_ptr<SmlpNet> copy_over(std::span<Layer* const> layers, bool bf16) const;

  /// Evaluation of images that lie in `x`, into logits [image][class]; prepare_inference() first.
  void prepare_inference();
  void run(Panels<const float> x, std::int64_t first_image, std::int64_t images, float* logits);

 private:
  Grid grid(std::size_t stage) const;
  void gather_patches(Panels<const float> x, std::int64_t first_image, std::int64_t images,
                      float* patches) const;
  const float* draw_scales(const Pass& pass, int block, int branch, std::int64_t tokens, std::int64_t images);
  void measure(std::size_t stage, std::int64_t images, const float* x, TileMoments& moments) const;
  void pool(std::int64_t images, const float* x);
  void logits_of(std::int64_t images, const float* pooled, float* rows) const;
  void head_backward(float* g);

  SmlpShape shape_;
  SmlpInput input_;
  std::vector<Layer*> layers_;
  bool bf16_, recompute_ = false;
  std::vector<Patches> patches_;   // of each stage
  std::vector<SmlpBlock> blocks_;  // of all stages
  BatchNorm norm_;
  Parameter head_weight_, head_bias_;

  // Of the batch at work.
  Panels<const float> images_;
  std::vector<AlignedVector<float>> features_;  // what each block is given, and what the last one makes
  std::vector<AlignedVector<float>> scales_;    // of both branches of each block
  AlignedVector<float> pooled_;
  BlockScratch scratch_;
  Workspace patch_scratch_, tokens_, logit_rows_, pooled_gradient_;
  PanelBuffer logits_, logit_gradient_;
};

/// What the pointwise layers are made from, in the Network's order.
std::vector<LayerOptions> smlp_layer_options(const SmlpShape& shape);

/// The whole network with start values drawn: dense layers as PyTorch draws them, sparse ones as if their
/// targets had only the sources that they are connected to on average. topologies: one for each layer,
/// nothing where it is dense; empty: all are dense. Throws tulle::Error (kConfig) as check_shape().
Network make_smlp(const SmlpShape& shape, const SmlpInput& input,
                  std::vector<std::optional<Topology>> topologies, std::uint64_t seed, bool bf16 = false);

/// The shape that a layer's weight has in files of PyTorch: 1 x 1 convolutions have four sides.
std::vector<std::int64_t> weight_shape(const Layer& layer);

/// The sMLPNet of a network; null if it is none.
SmlpNet* smlp_of(const Network& network);

}  // namespace tulle
