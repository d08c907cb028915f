#include "tulle/kernels/tokens.h"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tulle/kernels/tokens.cpp"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include "tulle/kernels/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tulle::kernels::HWY_NAMESPACE {

void MultiplyRows(const float* x, std::int64_t x_stride, const float* y, std::int64_t rows,
                  std::int64_t channels, float* out) {
  for (std::int64_t r = 0; r < rows; ++r, x += x_stride, y += channels, out += channels)
    ForVectors(channels, [&](auto d, std::int64_t c) {
      hn::StoreU(hn::Mul(hn::LoadU(d, x + c), hn::LoadU(d, y + c)), d, out + c);
    });
}

void ChannelMoments(const float* x, std::int64_t rows, std::int64_t channels, float* mean,
                    float* deviations) {
  const float share = 1.0f / static_cast<float>(rows);
  ForVectors(channels, [&](auto d, std::int64_t c) {
    auto sum = hn::Zero(d);
    for (std::int64_t r = 0; r < rows; ++r) sum = hn::Add(sum, hn::LoadU(d, x + r * channels + c));
    const auto middle = hn::Mul(sum, hn::Set(d, share));
    auto squares = hn::Zero(d);
    for (std::int64_t r = 0; r < rows; ++r) {
      const auto off = hn::Sub(hn::LoadU(d, x + r * channels + c), middle);
      squares = hn::MulAdd(off, off, squares);
    }
    hn::StoreU(middle, d, mean + c);
    hn::StoreU(squares, d, deviations + c);
  });
}

void ChannelDots(const float* g, const float* x, const float* scale, const float* shift, std::int64_t rows,
                 std::int64_t channels, float* sums, float* dots) {
  ForVectors(channels, [&](auto d, std::int64_t c) {
    const auto by = hn::LoadU(d, scale + c), plus = hn::LoadU(d, shift + c);
    auto sum = hn::Zero(d), dot = hn::Zero(d);
    for (std::int64_t i = c; i < rows * channels; i += channels) {
      const auto grad = hn::LoadU(d, g + i);
      sum = hn::Add(sum, grad);
      dot = hn::MulAdd(grad, hn::MulAdd(hn::LoadU(d, x + i), by, plus), dot);
    }
    hn::StoreU(sum, d, sums + c);
    hn::StoreU(dot, d, dots + c);
  });
}

void AddChannelSums(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t channels,
                    float* sums) {
  ForVectors(channels, [&](auto d, std::int64_t c) {
    auto sum = hn::LoadU(d, sums + c);
    for (std::int64_t r = 0; r < rows; ++r) sum = hn::Add(sum, hn::LoadU(d, x + r * stride + c));
    hn::StoreU(sum, d, sums + c);
  });
}

void CombineChannels(const float* g, const float* x, const float* by_g, const float* by_x,
                     const float* constant, const float* added, std::int64_t rows, std::int64_t channels,
                     float* out) {
  for (std::int64_t first = 0; first < rows * channels; first += channels)
    ForVectors(channels, [&](auto d, std::int64_t c) {
      const std::int64_t i = first + c;
      auto sum = hn::MulAdd(hn::LoadU(d, x + i), hn::LoadU(d, by_x + c), hn::LoadU(d, constant + c));
      sum = hn::MulAdd(hn::LoadU(d, g + i), hn::LoadU(d, by_g + c), sum);
      if (added != nullptr) sum = hn::Add(sum, hn::LoadU(d, added + i));
      hn::StoreU(sum, d, out + i);
    });
}

void LayerNormAgain(const float* x, const float* gamma, const float* beta, const float* mean,
                    const float* rstd, std::int64_t rows, std::int64_t channels, float* out) {
  for (std::int64_t r = 0; r < rows; ++r, x += channels, out += channels) {
    const float middle = mean[r], factor = rstd[r];
    ForVectors(channels, [&](auto d, std::int64_t c) {
      const auto off = hn::Mul(hn::Sub(hn::LoadU(d, x + c), hn::Set(d, middle)), hn::Set(d, factor));
      hn::StoreU(hn::MulAdd(off, hn::LoadU(d, gamma + c), hn::LoadU(d, beta + c)), d, out + c);
    });
  }
}

void LayerNorm(const float* x, const float* gamma, const float* beta, std::int64_t rows,
               std::int64_t channels, float* out, float* mean, float* rstd) {
  const float share = 1.0f / static_cast<float>(channels);
  for (std::int64_t r = 0; r < rows; ++r, x += channels, out += channels) {
    const float middle = share * SumOver(channels, [&](auto d, std::int64_t c, auto sum) {
                           return hn::Add(sum, hn::LoadU(d, x + c));
                         });
    const float variance = share * SumOver(channels, [&](auto d, std::int64_t c, auto sum) {
                             const auto off = hn::Sub(hn::LoadU(d, x + c), hn::Set(d, middle));
                             return hn::MulAdd(off, off, sum);
                           });
    mean[r] = middle;
    rstd[r] = 1.0f / std::sqrt(variance + 1e-5f);
    LayerNormAgain(x, gamma, beta, mean + r, rstd + r, 1, channels, out);
  }
}

void LayerNormBack(const float* g, const float* x, const float* gamma, const float* mean, const float* rstd,
                   const float* added, std::int64_t rows, std::int64_t channels, float* out,
                   float* gamma_sums, float* beta_sums) {
  const float share = 1.0f / static_cast<float>(channels);
  for (std::int64_t r = 0; r < rows; ++r, g += channels, x += channels, added += channels, out += channels) {
    const float middle = mean[r], factor = rstd[r];
    const auto normal = [&](auto d, std::int64_t c) {
      return hn::Mul(hn::Sub(hn::LoadU(d, x + c), hn::Set(d, middle)), hn::Set(d, factor));
    };
    const float grads = share * SumOver(channels, [&](auto d, std::int64_t c, auto sum) {
                          return hn::MulAdd(hn::LoadU(d, g + c), hn::LoadU(d, gamma + c), sum);
                        });
    const float dots = share * SumOver(channels, [&](auto d, std::int64_t c, auto sum) {
                         const auto e = hn::Mul(hn::LoadU(d, g + c), hn::LoadU(d, gamma + c));
                         return hn::MulAdd(e, normal(d, c), sum);
                       });
    ForVectors(channels, [&](auto d, std::int64_t c) {
      const auto grad = hn::LoadU(d, g + c), off = normal(d, c);
      hn::StoreU(hn::MulAdd(grad, off, hn::LoadU(d, gamma_sums + c)), d, gamma_sums + c);
      hn::StoreU(hn::Add(grad, hn::LoadU(d, beta_sums + c)), d, beta_sums + c);
      auto e = hn::MulSub(grad, hn::LoadU(d, gamma + c), hn::Set(d, grads));
      e = hn::NegMulAdd(off, hn::Set(d, dots), e);
      hn::StoreU(hn::MulAdd(e, hn::Set(d, factor), hn::LoadU(d, added + c)), d, out + c);
    });
  }
}

void AddBranch(const float* x, const float* branch, const float* bias, const float* row_scale,
               std::int64_t rows, std::int64_t channels, float* out) {
  for (std::int64_t r = 0; r < rows; ++r, x += channels, branch += channels, out += channels) {
    const float scale = row_scale == nullptr ? 1.0f : row_scale[r];
    ForVectors(channels, [&](auto d, std::int64_t c) {
      auto sum = hn::LoadU(d, branch + c);
      if (bias != nullptr) sum = hn::Add(sum, hn::LoadU(d, bias + c));
      hn::StoreU(hn::MulAdd(sum, hn::Set(d, scale), hn::LoadU(d, x + c)), d, out + c);
    });
  }
}

void ScaleRows(const float* x, const float* row_scale, std::int64_t rows, std::int64_t channels, float* out) {
  for (std::int64_t r = 0; r < rows; ++r, x += channels, out += channels) {
    const float scale = row_scale == nullptr ? 1.0f : row_scale[r];
    ForVectors(channels, [&](auto d, std::int64_t c) {
      hn::StoreU(hn::Mul(hn::LoadU(d, x + c), hn::Set(d, scale)), d, out + c);
    });
  }
}

void ChannelTotals(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t channels,
                   float* totals) {
  for (std::int64_t r = 0; r < rows; ++r, x += stride)
    totals[r] += SumOver(channels,
                         [&](auto d, std::int64_t c, auto sum) { return hn::Add(sum, hn::LoadU(d, x + c)); });
}

// The transpose of 4 x 4 values.
#if HWY_TARGET == HWY_SCALAR
HWY_INLINE void TransposeFour(const float* HWY_RESTRICT in, std::int64_t in_stride, float* HWY_RESTRICT out,
                              std::int64_t out_stride) {
  for (std::int64_t i = 0; i < 16; ++i) out[i / 4 * out_stride + i % 4] = in[i % 4 * in_stride + i / 4];
}

#else
HWY_INLINE void TransposeFour(const float* HWY_RESTRICT in, std::int64_t in_stride, float* HWY_RESTRICT out,
                              std::int64_t out_stride) {
  const hn::FixedTag<float, 4> d;
  const hn::FixedTag<double, 2> pairs;
  const auto row0 = hn::LoadU(d, in), row1 = hn::LoadU(d, in + in_stride);
  const auto row2 = hn::LoadU(d, in + 2 * in_stride), row3 = hn::LoadU(d, in + 3 * in_stride);
  const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, row0, row1));
  const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, row2, row3));
  const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, row0, row1));
  const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, row2, row3));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23)), d, out);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23)), d, out + out_stride);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, high01, high23)), d, out + 2 * out_stride);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, high01, high23)), d, out + 3 * out_stride);
}

#endif

// out[c][r] = in[r][c], in blocks that stay in the nearest cache.
HWY_INLINE void Transpose(const float* in, std::int64_t in_stride, std::int64_t rows, std::int64_t columns,
                          float* out, std::int64_t out_stride) {
  constexpr std::int64_t kBlock = 16;
  for (std::int64_t c0 = 0; c0 < columns; c0 += kBlock)
    for (std::int64_t r0 = 0; r0 < rows; r0 += 4) {
      const std::int64_t end = std::min(columns, c0 + kBlock);
      std::int64_t c = c0;
      if (r0 + 4 <= rows)
        for (; c + 4 <= end; c += 4)
          TransposeFour(in + r0 * in_stride + c, in_stride, out + c * out_stride + r0, out_stride);
      for (; c < end; ++c)
        for (std::int64_t r = r0; r < std::min(rows, r0 + 4); ++r)
          out[c * out_stride + r] = in[r * in_stride + c];
    }
}

void ToPanel(const float* x, std::int64_t x_stride, std::int64_t rows, std::int64_t channels, int width,
             float* out) {
  Transpose(x, x_stride, rows, channels, out, width);
  if (rows < width)
    for (std::int64_t c = 0; c < channels; ++c)
      std::fill(out + c * width + rows, out + (c + 1) * width, 0.0f);
}

void FromPanel(const float* x, std::int64_t rows, std::int64_t channels, int width, float* out) {
  Transpose(x, width, channels, rows, out, channels);
}

}  // namespace tulle::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tulle::kernels {

HWY_EXPORT(MultiplyRows);
HWY_EXPORT(ChannelMoments);
HWY_EXPORT(ChannelDots);
HWY_EXPORT(AddChannelSums);
HWY_EXPORT(CombineChannels);
HWY_EXPORT(LayerNorm);
HWY_EXPORT(LayerNormAgain);
HWY_EXPORT(LayerNormBack);
HWY_EXPORT(AddBranch);
HWY_EXPORT(ScaleRows);
HWY_EXPORT(ToPanel);
HWY_EXPORT(FromPanel);
HWY_EXPORT(ChannelTotals);

void multiply_rows(const float* x, std::int64_t x_stride, const float* y, std::int64_t rows,
                   std::int64_t channels, float* out) noexcept {
  HWY_DYNAMIC_DISPATCH(MultiplyRows)(x, x_stride, y, rows, channels, out);
}
void channel_moments(const float* x, std::int64_t rows, std::int64_t channels, float* mean,
                     float* deviations) noexcept {
  HWY_DYNAMIC_DISPATCH(ChannelMoments)(x, rows, channels, mean, deviations);
}
void channel_dots(const float* g, const float* x, const float* scale, const float* shift, std::int64_t rows,
                  std::int64_t channels, float* sums, float* dots) noexcept {
  HWY_DYNAMIC_DISPATCH(ChannelDots)(g, x, scale, shift, rows, channels, sums, dots);
}
void add_channel_sums(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t channels,
                      float* sums) noexcept {
  HWY_DYNAMIC_DISPATCH(AddChannelSums)(x, stride, rows, channels, sums);
}
void combine_channels(const float* g, const float* x, const float* by_g, const float* by_x,
                      const float* constant, const float* added, std::int64_t rows, std::int64_t channels,
                      float* out) noexcept {
  HWY_DYNAMIC_DISPATCH(CombineChannels)(g, x, by_g, by_x, constant, added, rows, channels, out);
}
void layer_norm(const float* x, const float* gamma, const float* beta, std::int64_t rows,
                std::int64_t channels, float* out, float* mean, float* rstd) noexcept {
  HWY_DYNAMIC_DISPATCH(LayerNorm)(x, gamma, beta, rows, channels, out, mean, rstd);
}
void layer_norm_again(const float* x, const float* gamma, const float* beta, const float* mean,
                      const float* rstd, std::int64_t rows, std::int64_t channels, float* out) noexcept {
  HWY_DYNAMIC_DISPATCH(LayerNormAgain)(x, gamma, beta, mean, rstd, rows, channels, out);
}
void layer_norm_back(const float* g, const float* x, const float* gamma, const float* mean, const float* rstd,
                     const float* added, std::int64_t rows, std::int64_t channels, float* out,
                     float* gamma_sums, float* beta_sums) noexcept {
  HWY_DYNAMIC_DISPATCH(LayerNormBack)
  (g, x, gamma, mean, rstd, added, rows, channels, out, gamma_sums, beta_sums);
}
void add_branch(const float* x, const float* branch, const float* bias, const float* row_scale,
                std::int64_t rows, std::int64_t channels, float* out) noexcept {
  HWY_DYNAMIC_DISPATCH(AddBranch)(x, branch, bias, row_scale, rows, channels, out);
}
void scale_rows(const float* x, const float* row_scale, std::int64_t rows, std::int64_t channels,
                float* out) noexcept {
  HWY_DYNAMIC_DISPATCH(ScaleRows)(x, row_scale, rows, channels, out);
}
void add_channel_totals(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t channels,
                        float* totals) noexcept {
  HWY_DYNAMIC_DISPATCH(ChannelTotals)(x, stride, rows, channels, totals);
}
void to_panel(const float* x, std::int64_t x_stride, std::int64_t rows, std::int64_t channels, int width,
              float* out) noexcept {
  HWY_DYNAMIC_DISPATCH(ToPanel)(x, x_stride, rows, channels, width, out);
}
void from_panel(const float* x, std::int64_t rows, std::int64_t channels, int width, float* out) noexcept {
  HWY_DYNAMIC_DISPATCH(FromPanel)(x, rows, channels, width, out);
}

}  // namespace tulle::kernels
#endif
