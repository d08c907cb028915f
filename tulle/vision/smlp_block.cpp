#include "tulle/vision/smlp_block.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "tulle/base/as_size.h"
#include "tulle/kernels/gelu.h"
#include "tulle/kernels/mixing.h"
#include "tulle/kernels/tokens.h"
#include "tulle/vision/start_values.h"

namespace tulle {
namespace {

// Rows of images that one thread takes at a time in the convolution: at least some hundred tokens.
std::int64_t rows_per_group(const Grid& grid) { return std::max(1, 256 / grid.width); }

}  // namespace

SmlpBlock::SmlpBlock(int index, const Grid& grid, Layer& fuse, Layer& first, Layer& second, bool bf16)
    : grid_(grid),
      token_name_(fmt::format("token_mix.{}", index)),
      channel_name_(fmt::format("channel_mix.{}", index)),
      norm1_(token_name_ + ".0.conv_merge.BN", grid.channels),
      norm2_(token_name_ + ".1.BN", grid.channels),
      depthwise_(token_name_ + ".0.conv_merge.Conv.weight", Parameter::Kind::kWeight,
                 as_size(9 * channels())),
      row_weight_(token_name_ + ".1.proj_h.weight", Parameter::Kind::kWeight,
                  as_size(std::int64_t{grid.width} * grid.width)),
      row_bias_(token_name_ + ".1.proj_h.bias", Parameter::Kind::kBias, as_size(grid.width)),
      column_weight_(token_name_ + ".1.proh_w.weight", Parameter::Kind::kWeight,
                     as_size(std::int64_t{grid.height} * grid.height)),
      column_bias_(token_name_ + ".1.proh_w.bias", Parameter::Kind::kBias, as_size(grid.height)),
      fuse_(fuse, bf16),
      layer_norm_weight_(channel_name_ + ".1.weight", Parameter::Kind::kBias, as_size(channels())),
      layer_norm_bias_(channel_name_ + ".1.bias", Parameter::Kind::kBias, as_size(channels())),
      first_(first, bf16),
      second_(second, bf16),
      taps_(as_size(9 * channels())),
      flipped_(taps_.size()) {
  std::ranges::fill(layer_norm_weight_.value, 1.0f);
}

std::vector<Parameter*> SmlpBlock::parameters() {
  std::vector<Parameter*> all = norm1_.parameters();
  all.push_back(&depthwise_);
  for (Parameter* parameter : norm2_.parameters()) all.push_back(parameter);
  for (Parameter* parameter :
       {&row_weight_, &row_bias_, &column_weight_, &column_bias_, &layer_norm_weight_, &layer_norm_bias_})
    all.push_back(parameter);
  return all;
}

void SmlpBlock::add_statistics(std::vector<Statistic>& statistics) {
  norm1_.add_statistics(statistics);
  norm2_.add_statistics(statistics);
}

void SmlpBlock::add_arrays(std::vector<NamedArray>& arrays) {
  const std::int64_t c = channels(), h = grid_.height, w = grid_.width;
  norm1_.add_arrays(arrays);
  arrays.push_back({depthwise_.name, {c, 1, 3, 3}, &depthwise_.value});
  norm2_.add_arrays(arrays);
  arrays.push_back({row_weight_.name, {w, w, 1, 1}, &row_weight_.value});
  arrays.push_back({row_bias_.name, {w}, &row_bias_.value});
  arrays.push_back({column_weight_.name, {h, h, 1, 1}, &column_weight_.value});
  arrays.push_back({column_bias_.name, {h}, &column_bias_.value});
  arrays.push_back({layer_norm_weight_.name, {c}, &layer_norm_weight_.value});
  arrays.push_back({layer_norm_bias_.name, {c}, &layer_norm_bias_.value});
}

std::int64_t SmlpBlock::other_weights() const {
  return static_cast<std::int64_t>(depthwise_.value.size() + row_weight_.value.size() +
                                   column_weight_.value.size());
}

void SmlpBlock::prepare(bool with_back) {
  const std::int64_t c = channels();
  for (std::int64_t k = 0; k < 9; ++k)
    for (std::int64_t channel = 0; channel < c; ++channel) {
      const float tap = depthwise_.value[as_size(channel * 9 + k)];
      taps_[as_size(k * c + channel)] = tap;
      flipped_[as_size((8 - k) * c + channel)] = tap;
    }
  for (Pointwise* layer : {&fuse_, &first_, &second_}) layer->prepare(with_back);
}

std::int64_t SmlpBlock::tiles(std::int64_t images) const {
  std::int64_t count = 0;
  for_chunks(grid_, images, [&](const Chunk& chunk) {
    count += Tiles(chunk.images * grid_.tokens(), first_.connections()).count;
  });
  return count;
}

// a = GELU(BN1 x) of a chunk.
void SmlpBlock::activate(const Chunk& chunk, const float* x, float* a) const {
  const std::int64_t c = channels(), tokens = grid_.tokens();
  for_tiles(Tiles(chunk.images * tokens, first_.connections()), [&](std::int64_t, Range rows) {
    kernels::affine_gelu(x + (chunk.first * tokens + rows.begin) * c, norm1_.scale(), norm1_.shift(),
                         rows.end - rows.begin, c, a + rows.begin * c, c);
  });
}

// One row of tokens, counted over the chunk's images.
void SmlpBlock::convolve_line(const float* a, std::int64_t line, float* out) const {
  const std::int64_t h = grid_.height, row = grid_.width * channels();
  const float* const around[3] = {line % h > 0 ? a + (line - 1) * row : nullptr, a + line * row,
                                  line % h < h - 1 ? a + (line + 1) * row : nullptr};
  kernels::depthwise_row(around, taps_.data(), nullptr, grid_.width, channels(), out);
}

// One row or column of tokens, counted over the chunk's images. From u in the first C columns of each token:
// r in the second or q in the third.
void SmlpBlock::mix_line(bool is_row, std::int64_t line, float* mixed) const {
  const std::int64_t h = grid_.height, w = grid_.width, c = channels(), token = 3 * c;
  const std::int64_t lines = is_row ? h : w, length = is_row ? w : h, step = is_row ? token : w * token;
  const float* const weight = is_row ? row_weight_.value.data() : column_weight_.value.data();
  const float* const bias = is_row ? row_bias_.value.data() : column_bias_.value.data();
  float* const u = mixed + line / lines * h * w * token + line % lines * (is_row ? w * token : token);
  float* const out = u + (is_row ? c : 2 * c);
  kernels::mix_line(weight, /*transposed=*/false, bias, length, c, u, step, /*add=*/false, out, step);
}

void SmlpBlock::mix(std::int64_t images, float* mixed) const {
  const std::int64_t rows = images * grid_.height;
  parallel_ranges(rows + images * grid_.width, 4, [&](Range range) {
    for (std::int64_t i = range.begin; i < range.end; ++i) mix_line(i < rows, i < rows ? i : i - rows, mixed);
  });
}

void SmlpBlock::forward(std::int64_t images, const float* x, const BranchScales& scales,
                        const TileMoments& in, float* next, TileMoments& out, BlockScratch& s) {
  const std::int64_t c = channels(), tokens = grid_.tokens(), all = images * tokens,
                     hidden = first_.outputs();
  float* const d_all = s.d.get(all * c);
  y_.resize(as_size(all * c));
  z_.resize(recompute_ ? 0 : as_size(all * hidden));
  mean_.resize(as_size(all));
  rstd_.resize(as_size(all));
  norm1_.use_batch(in);

  const std::int64_t group = rows_per_group(grid_);
  const auto groups_of = [&](std::int64_t some) { return (some * grid_.height + group - 1) / group; };
  const std::int64_t chunks = (images + images_per_chunk(grid_) - 1) / images_per_chunk(grid_);
  d_moments_.start(chunks * groups_of(images_per_chunk(grid_)), grid_.channels);
  for_chunks(grid_, images, [&](const Chunk& chunk) {
    float* const a = s.a.get(chunk.images * tokens * c);
    activate(chunk, x, a);
    float* const d = d_all + chunk.first * tokens * c;
    parallel_parts(static_cast<int>(groups_of(chunk.images)), [&](int g) {
      const std::int64_t row = grid_.width * c, begin = g * group;
      const std::int64_t end = std::min(chunk.images * grid_.height, begin + group);
      for (std::int64_t i = begin; i < end; ++i) convolve_line(a, i, d + i * row);
      d_moments_.measure(chunk.index * groups_of(images_per_chunk(grid_)) + g, d + begin * row,
                         (end - begin) * grid_.width);
    });
  });
  norm2_.use_batch(d_moments_);

  out.start(tiles(images), grid_.channels);
  std::int64_t first_tile = 0;
  for_chunks(grid_, images, [&](const Chunk& chunk) {
    const std::int64_t first = chunk.first * tokens, count = chunk.images * tokens;
    float* const mixed = s.mixed.get(count * 3 * c);
    const Tiles tiled(count, first_.connections());
    for_tiles(tiled, [&](std::int64_t, Range rows) {
      kernels::affine_gelu(d_all + (first + rows.begin) * c, norm2_.scale(), norm2_.shift(),
                           rows.end - rows.begin, c, mixed + rows.begin * 3 * c, 3 * c);
    });
    mix(chunk.images, mixed);
    for_tiles(tiled, [&](std::int64_t tile, Range range) {
      thread_local Workspace branch_of, normed_of, hidden_of;
      const std::int64_t rows = range.end - range.begin, from = first + range.begin;
      float* const branch = branch_of.get(rows * c);
      float* const normed = normed_of.get(rows * c);
      float* const active = hidden_of.get(rows * hidden);
      const auto scale = [&](const float* of) { return of == nullptr ? nullptr : of + from; };
      float* const y = y_.data() + from * c;
      float* const z = recompute_ ? active : z_.data() + from * hidden;
      fuse_.forward(rows, mixed + range.begin * 3 * c, branch);
      kernels::add_branch(x + from * c, branch, nullptr, scale(scales.token), rows, c, y);
      kernels::layer_norm(y, layer_norm_weight_.value.data(), layer_norm_bias_.value.data(), rows, c, normed,
                          mean_.data() + from, rstd_.data() + from);
      first_.forward(rows, normed, z);
      kernels::bias_gelu(z, first_.bias(), rows, hidden, active);
      second_.forward(rows, active, branch);
      kernels::add_branch(y, branch, second_.bias(), scale(scales.channel), rows, c, next + from * c);
      out.measure(first_tile + tile, next + from * c, rows);
    });
    first_tile += tiled.count;
  });
}

// Layers draw their own weights; here is what lies between them.
void SmlpBlock::draw(std::uint64_t seed) {
  for (const auto& [parameter, inputs] : {std::pair{&depthwise_, 9},
                                          {&row_weight_, grid_.width},
                                          {&row_bias_, grid_.width},
                                          {&column_weight_, grid_.height},
                                          {&column_bias_, grid_.height}})
    draw_uniform(*parameter, inputs, seed);
}

void SmlpBlock::prepare_inference() {
  prepare(/*with_back=*/false);
  norm1_.use_running();
  norm2_.use_running();
}

void SmlpBlock::run(std::int64_t images, float* x, BlockScratch& s) const {
  const std::int64_t c = channels(), count = images * grid_.tokens(), hidden = first_.outputs();
  const std::int64_t rows = images * grid_.height, width = grid_.width;
  float* const a = s.a.get(count * c);
  float* const mixed = s.mixed.get(count * 3 * c);
  const Tiles tiles(count, first_.connections(), first_.is_sparse() ? 16 : 1);
  for_tiles(tiles, [&](std::int64_t, Range range) {
    kernels::affine_gelu(x + range.begin * c, norm1_.scale(), norm1_.shift(), range.end - range.begin, c,
                         a + range.begin * c, c);
  });
  parallel_ranges(rows, 1, [&](Range range) {
    thread_local Workspace d_of;
    float* const d = d_of.get(width * c);
    for (std::int64_t i = range.begin; i < range.end; ++i) {
      convolve_line(a, i, d);
      kernels::affine_gelu(d, norm2_.scale(), norm2_.shift(), width, c, mixed + i * width * 3 * c, 3 * c);
      mix_line(/*is_row=*/true, i, mixed);
    }
  });
  parallel_ranges(images * width, 1, [&](Range range) {
    for (std::int64_t i = range.begin; i < range.end; ++i) mix_line(/*is_row=*/false, i, mixed);
  });
  for_tiles(tiles, [&](std::int64_t, Range range) {
    thread_local Workspace branch_of, normed_of, hidden_of, moments_of;
    const std::int64_t some = range.end - range.begin;
    float* const branch = branch_of.get(some * c);
    float* const normed = normed_of.get(some * c);
    float* const moments = moments_of.get(2 * some);
    float* const at = x + range.begin * c;
    fuse_.forward(some, mixed + range.begin * 3 * c, branch);
    kernels::add_branch(at, branch, nullptr, nullptr, some, c, at);
    kernels::layer_norm(at, layer_norm_weight_.value.data(), layer_norm_bias_.value.data(), some, c, normed,
                        moments, moments + some);
    const float* bias = second_.bias();
    if (first_.is_sparse() && second_.is_sparse()) {
      Pointwise::forward_both(first_, second_, some, normed, branch);
      bias = nullptr;  // is in the branch
    } else {
      float* const z = hidden_of.get(some * hidden);
      first_.forward(some, normed, z);
      kernels::bias_gelu(z, first_.bias(), some, hidden, z);
      second_.forward(some, z, branch);
    }
    kernels::add_branch(at, branch, bias, nullptr, some, c, at);
  });
}

}  // namespace tulle
