#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace tulle {

/// What decides an sMLPNet's parameters. Source: arXiv 2109.05422, section 3, and the published code.
struct SmlpShape {
  int channels = 3;  // of the images
  int height = 224, width = 224;
  int patch = 4;
  std::int32_t embedding = 80;           // channels of the first stage; each stage doubles them
  std::vector<int> depths{2, 8, 14, 2};  // blocks of each stage
  int expansion = 3;                     // hidden channels of the channel mixing, in channels of the stage
  std::vector<std::int32_t> hidden{};    // the same in channels of each block, where some went; empty: none
  std::int32_t classes = 1000;
  double drop_path = 0.0;  // stochastic depth of the last block; it rises linearly from 0 at the first

  std::size_t stages() const { return depths.size(); }
  int blocks() const;
  std::int32_t stage_channels(std::size_t stage) const { return embedding << stage; }
  std::int32_t stage_hidden(std::size_t stage) const { return stage_channels(stage) * expansion; }
  /// Hidden channels of block `block`, of stage `stage`, counted over the whole network.
  std::int32_t hidden_of(std::size_t stage, std::size_t block) const {
    return hidden.empty() ? stage_hidden(stage) : hidden[block];
  }
  /// body(stage, block) for all blocks, in order.
  template <class Body>
  void for_blocks(const Body& body) const {
    std::size_t block = 0;
    for (std::size_t stage = 0; stage < stages(); ++stage)
      for (int b = 0; b < depths[stage]; ++b) body(stage, block++);
  }
  /// Rows and columns of tokens: the first stage's from the patches, then half of those before, rounded down.
  int stage_height(std::size_t stage) const { return height / patch >> stage; }
  int stage_width(std::size_t stage) const { return width / patch >> stage; }
  std::int64_t stage_tokens(std::size_t stage) const {
    return std::int64_t{stage_height(stage)} * stage_width(stage);
  }
  /// Stochastic depth of block `block`, counted over the whole network.
  double drop_path_of(int block) const { return blocks() > 1 ? drop_path * block / (blocks() - 1) : 0.0; }
};

/// Throws tulle::Error (kConfig) for a shape that cannot be: naming the nearest sizes that patches fill, or
/// the stage that has no tokens left.
void check_shape(const SmlpShape& shape);

/// The first stage of an odd side whose merge loses its last row or column; nothing if there is none.
std::optional<std::size_t> odd_stage(const SmlpShape& shape);

/// Parameters, or multiplications of one image, by part. Cost: nothing.
struct SmlpCounts {
  std::int64_t embedding = 0;  // patches and merges
  std::int64_t fuse = 0, channel_mix = 0, row_and_column_mix = 0, depthwise = 0, norms = 0, head = 0;

  std::int64_t total() const {
    return embedding + fuse + channel_mix + row_and_column_mix + depthwise + norms + head;
  }
};
SmlpCounts parameters_of(const SmlpShape& shape);
SmlpCounts multiplications_of(const SmlpShape& shape);

/// A published or built-in size.
struct SmlpVariant {
  std::string_view name;
  std::string_view help;
  SmlpShape shape;
};
std::span<const SmlpVariant> smlp_variants();

}  // namespace tulle
