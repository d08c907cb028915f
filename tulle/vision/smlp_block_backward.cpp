#include <algorithm>
#include <utility>

#include "tulle/base/as_size.h"
#include "tulle/kernels/gelu.h"
#include "tulle/kernels/mixing.h"
#include "tulle/kernels/tokens.h"
#include "tulle/vision/smlp_block.h"

namespace tulle {
namespace {

// Lines of tokens whose gradients one thread adds up; the sums of all groups are then added in order.
constexpr std::int64_t kGroups = 8;

void add_to(AlignedVector<float>& sum, const float* partial) {
  for (float& value : sum) value += *partial++;
}

}  // namespace

// g times the scale of each of its rows, in scratch memory where that differs from g.
const float* SmlpBlock::scaled(const float* g, const float* scale, std::int64_t rows, BlockScratch& s) const {
  if (scale == nullptr) return g;
  float* const out = s.g.get(rows * channels());
  for_tiles(Tiles(rows, first_.connections()), [&](std::int64_t, Range range) {
    kernels::scale_rows(g + range.begin * channels(), scale + range.begin, range.end - range.begin,
                        channels(), out + range.begin * channels());
  });
  return out;
}

// next = y + scale (W2 GELU(W1 LN(y) + c1) + c2): g becomes dL/dy.
void SmlpBlock::channel_mix_back(const Chunk& chunk, const BranchScales& scales, float* g, BlockScratch& s) {
  const std::int64_t c = channels(), hidden = first_.outputs(), tokens = grid_.tokens();
  const std::int64_t count = chunk.images * tokens, from = chunk.first * tokens;
  const float* const y = y_.data() + from * c;
  const float* const branch =
      scaled(g + from * c, scales.channel == nullptr ? nullptr : scales.channel + from, count, s);
  float* const normed = s.normed.get(count * c);
  float* const active = s.hidden.get(count * hidden);
  float* const slope = s.slope.get(count * hidden);
  float* const dz = s.dz.get(count * hidden);
  const float* const z = recompute_ ? dz : z_.data() + from * hidden;  // used before dz is made
  float* const d_normed = s.d_normed.get(count * c);
  const Tiles tiles(count, first_.connections());
  for_tiles(tiles, [&](std::int64_t, Range range) {
    const std::int64_t rows = range.end - range.begin, at = range.begin;
    kernels::layer_norm_again(y + at * c, layer_norm_weight_.value.data(), layer_norm_bias_.value.data(),
                              mean_.data() + from + at, rstd_.data() + from + at, rows, c, normed + at * c);
    if (recompute_) {
      first_.forward(rows, normed + at * c, dz + at * hidden);
      kernels::bias_gelu(dz + at * hidden, first_.bias(), rows, hidden, active + at * hidden);
    }
    kernels::gelu_and_slope(z + at * hidden, rows * hidden, active + at * hidden, slope + at * hidden);
  });
  const bool first = chunk.index == 0;
  second_.backward(count, active, branch, dz, first, s.panels);
  for_tiles(tiles, [&](std::int64_t, Range range) {
    const std::int64_t at = range.begin * hidden;
    kernels::multiply_rows(dz + at, hidden, slope + at, range.end - range.begin, hidden, dz + at);
  });
  first_.backward(count, normed, dz, d_normed, first, s.panels);
  s.dots.start(tiles.count, grid_.channels);
  for_tiles(tiles, [&](std::int64_t tile, Range range) {
    const std::int64_t at = range.begin;
    kernels::layer_norm_back(d_normed + at * c, y + at * c, layer_norm_weight_.value.data(),
                             mean_.data() + from + at, rstd_.data() + from + at, g + (from + at) * c,
                             range.end - at, c, g + (from + at) * c, s.dots.dots(tile), s.dots.sums(tile));
  });
  std::vector<double> sums, dots;
  s.dots.merge(sums, dots);
  for (std::size_t i = 0; i < sums.size(); ++i) {
    layer_norm_weight_.gradient[i] =
        static_cast<float>(dots[i]) + (first ? 0.0f : layer_norm_weight_.gradient[i]);
    layer_norm_bias_.gradient[i] =
        static_cast<float>(sums[i]) + (first ? 0.0f : layer_norm_bias_.gradient[i]);
  }
}

// d_mixed holds dL/du, dL/dr and dL/dq side by side, mixed u, r and q: what the mixings hand on is added to
// dL/du, and their own gradients are made.
void SmlpBlock::mix_back(const Chunk& chunk, const float* mixed, float* d_mixed, BlockScratch& s) {
  const std::int64_t h = grid_.height, w = grid_.width, c = channels(), token = 3 * c;
  // Rows first, then columns: both add to dL/du.
  for (const bool is_row : {true, false}) {
    const std::int64_t length = is_row ? w : h, lines = chunk.images * (is_row ? h : w);
    const std::int64_t step = is_row ? token : w * token;
    Parameter& weight = is_row ? row_weight_ : column_weight_;
    Parameter& bias = is_row ? row_bias_ : column_bias_;
    const std::int64_t groups = std::min(kGroups, lines), values = length * length + length;
    float* const partial = s.partial.get(groups * values);
    parallel_parts(static_cast<int>(groups), [&](int group) {
      float* const weight_sum = partial + group * values;
      float* const bias_sum = weight_sum + length * length;
      std::fill_n(weight_sum, values, 0.0f);
      const Range range = even_range(lines, static_cast<int>(groups), group);
      std::vector<const float*> from, to;
      for (std::int64_t i = range.begin; i < range.end; ++i) {
        const std::int64_t image = i / (is_row ? h : w), line = i % (is_row ? h : w);
        const std::int64_t place = image * h * w * token + (is_row ? line * w * token : line * token);
        float* const du = d_mixed + place;
        const float* const d_out = du + (is_row ? c : 2 * c);
        kernels::mix_line(weight.value.data(), /*transposed=*/true, nullptr, length, c, d_out, step,
                          /*add=*/true, du, step);
        kernels::add_channel_totals(d_out, step, length, c, bias_sum);
        from.push_back(d_out);
        to.push_back(mixed + place);
      }
      kernels::mix_gradient(from.data(), to.data(), range.end - range.begin, step, c, length, weight_sum);
    });
    if (chunk.index == 0) {
      std::ranges::fill(weight.gradient, 0.0f);
      std::ranges::fill(bias.gradient, 0.0f);
    }
    for (std::int64_t group = 0; group < groups; ++group) {
      add_to(weight.gradient, partial + group * values);
      add_to(bias.gradient, partial + group * values + length * length);
    }
  }
}

// y = x + scale [u r q] F^T: work becomes dL/d(BN2 d), d is computed again, and the sums that BN2 needs are
// gathered.
void SmlpBlock::token_mix_back(const Chunk& chunk, std::int64_t first_tile, const float* x,
                               const BranchScales& scales, const float* g, float* work, BlockScratch& s) {
  const std::int64_t c = channels(), tokens = grid_.tokens(), row = grid_.width * c;
  const std::int64_t count = chunk.images * tokens, from = chunk.first * tokens;
  float* const a = s.a.get(count * c);
  float* const d = s.d.get((from + count) * c) + from * c;
  activate(chunk, x, a);
  parallel_ranges(chunk.images * grid_.height, 1, [&](Range range) {
    for (std::int64_t i = range.begin; i < range.end; ++i) convolve_line(a, i, d + i * row);
  });
  const float* const branch =
      scaled(g + from * c, scales.token == nullptr ? nullptr : scales.token + from, count, s);
  float* const mixed = s.mixed.get(count * 3 * c);
  float* const d_mixed = s.d_mixed.get(count * 3 * c);
  float* const slope = s.slope.get(count * c);
  const Tiles tiles(count, first_.connections());
  for_tiles(tiles, [&](std::int64_t, Range range) {
    const std::int64_t rows = range.end - range.begin, at = range.begin;
    kernels::affine_gelu_and_slope(d + at * c, norm2_.scale(), norm2_.shift(), rows, c, mixed + at * 3 * c,
                                   3 * c, slope + at * c);
  });
  mix(chunk.images, mixed);
  fuse_.backward(count, mixed, branch, d_mixed, chunk.index == 0, s.panels);
  mix_back(chunk, mixed, d_mixed, s);
  for_tiles(tiles, [&](std::int64_t tile, Range range) {
    const std::int64_t rows = range.end - range.begin, at = range.begin;
    float* const dz = work + (from + at) * c;
    kernels::multiply_rows(d_mixed + at * 3 * c, 3 * c, slope + at * c, rows, c, dz);
    kernels::channel_dots(dz, d + at * c, norm2_.normal_scale(), norm2_.normal_shift(), rows, c,
                          s.dots.sums(first_tile + tile), s.dots.dots(first_tile + tile));
  });
}

// d = depthwise(GELU(BN1 x)): work, dL/d(BN2 d) before, becomes dL/d(BN1 x), and the sums that BN1 needs are
// gathered.
void SmlpBlock::convolve_back(const Chunk& chunk, const float* x, float* work, BlockScratch& s) {
  const std::int64_t c = channels(), tokens = grid_.tokens(), row = grid_.width * c;
  const std::int64_t count = chunk.images * tokens, from = chunk.first * tokens;
  const float* const d = s.d.get((from + count) * c) + from * c;  // of token_mix_back()
  float* const a = s.a.get(count * c);
  float* const dd = s.g.get(count * c);
  float* const slope = s.slope.get(count * c);
  for_tiles(Tiles(count, first_.connections()), [&](std::int64_t, Range range) {
    const std::int64_t rows = range.end - range.begin, at = from + range.begin;
    kernels::combine_channels(work + at * c, d + range.begin * c, norm2_.by_g(), norm2_.by_x(),
                              norm2_.constant(), nullptr, rows, c, dd + range.begin * c);
    kernels::affine_gelu_and_slope(x + at * c, norm1_.scale(), norm1_.shift(), rows, c, a + range.begin * c,
                                   c, slope + range.begin * c);
  });
  const std::int64_t h = grid_.height, rows = chunk.images * h, groups = std::min(kGroups, rows);
  float* const partial = s.partial.get(groups * 9 * c);
  parallel_parts(static_cast<int>(groups), [&](int group) {
    float* const tap_sums = partial + group * 9 * c;
    std::fill_n(tap_sums, 9 * c, 0.0f);
    const Range range = even_range(rows, static_cast<int>(groups), group);
    const auto around = [&](const float* of, std::int64_t i, const float*(&lines)[3]) {
      lines[0] = i % h > 0 ? of + (i - 1) * row : nullptr;
      lines[1] = of + i * row;
      lines[2] = i % h < h - 1 ? of + (i + 1) * row : nullptr;
    };
    thread_local Workspace da_of;
    for (std::int64_t i = range.begin; i < range.end; ++i) {
      const float* lines[3];
      around(a, i, lines);
      kernels::depthwise_row_gradient(lines, dd + i * row, grid_.width, c, tap_sums);
      around(dd, i, lines);
      float* const da = da_of.get(row);
      kernels::depthwise_row(lines, flipped_.data(), nullptr, grid_.width, c, da);
      const std::int64_t at = from * c + i * row;
      kernels::multiply_rows(da, c, slope + i * row, grid_.width, c, work + at);
    }
    const std::int64_t place = chunk.index * kGroups + group, at = from * c + range.begin * row;
    kernels::channel_dots(work + at, x + at, norm1_.normal_scale(), norm1_.normal_shift(),
                          (range.end - range.begin) * grid_.width, c, s.dots.sums(place), s.dots.dots(place));
  });
  if (chunk.index == 0) std::ranges::fill(depthwise_.gradient, 0.0f);
  for (std::int64_t group = 0; group < groups; ++group)
    for (std::int64_t k = 0; k < 9; ++k)
      for (std::int64_t channel = 0; channel < c; ++channel)
        depthwise_.gradient[as_size(channel * 9 + k)] += partial[(group * 9 + k) * c + channel];
}

void SmlpBlock::backward(std::int64_t images, const float* x, const BranchScales& scales, float* g,
                         BlockScratch& s) {
  const std::int64_t c = channels(), tokens = grid_.tokens();
  const std::int64_t chunks = (images + images_per_chunk(grid_) - 1) / images_per_chunk(grid_);
  for_chunks(grid_, images, [&](const Chunk& chunk) { channel_mix_back(chunk, scales, g, s); });
  float* const work = y_.data();  // which nobody needs any more
  s.d.get(images * tokens * c);   // once, before chunks fill their parts
  s.dots.start(tiles(images), grid_.channels);
  std::int64_t first_tile = 0;
  for_chunks(grid_, images, [&](const Chunk& chunk) {
    token_mix_back(chunk, first_tile, x, scales, g, work, s);
    first_tile += Tiles(chunk.images * tokens, first_.connections()).count;
  });
  norm2_.back(s.dots);
  s.dots.start(chunks * kGroups, grid_.channels);
  for_chunks(grid_, images, [&](const Chunk& chunk) { convolve_back(chunk, x, work, s); });
  norm1_.back(s.dots);
  for_tiles(Tiles(images * tokens, first_.connections()), [&](std::int64_t, Range range) {
    const std::int64_t at = range.begin * c;
    kernels::combine_channels(work + at, x + at, norm1_.by_g(), norm1_.by_x(), norm1_.constant(), g + at,
                              range.end - range.begin, c, g + at);
  });
}

}  // namespace tulle
