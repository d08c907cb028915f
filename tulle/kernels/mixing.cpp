#include "tulle/kernels/mixing.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tulle/kernels/mixing.cpp"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include "tulle/kernels/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tulle::kernels::HWY_NAMESPACE {

// The rows that exist, with their places: a missing row adds nothing.
struct Rows {
  const float* x[3];
  int place[3];
  int count = 0;
  explicit Rows(const float* const rows[3]) {
    for (int r = 0; r < 3; ++r)
      if (rows[r] != nullptr) x[count] = rows[r], place[count++] = r;
  }
};

// Along the row, each column adds to the sums of its own place and of both neighbours, which wait in
// registers: every value is read once.
template <int kRows>
void DepthwiseRows(const Rows& rows, const float* HWY_RESTRICT weights, const float* bias, std::int64_t width,
                   std::int64_t channels, float* HWY_RESTRICT out) {
  ForVectors(channels, [&](auto d, std::int64_t c) {
    using V = hn::Vec<decltype(d)>;
    V tap[kRows][3];
    for (int r = 0; r < kRows; ++r)
      for (int s = 0; s < 3; ++s) tap[r][s] = hn::LoadU(d, weights + (3 * rows.place[r] + s) * channels + c);
    const V start = bias == nullptr ? hn::Zero(d) : hn::LoadU(d, bias + c);
    V before = start, here = start;  // sums of columns w - 1 and w
    for (std::int64_t w = 0; w < width; ++w) {
      V after = start;
      for (int r = 0; r < kRows; ++r) {
        const V x = hn::LoadU(d, rows.x[r] + w * channels + c);
        before = hn::MulAdd(x, tap[r][2], before);
        here = hn::MulAdd(x, tap[r][1], here);
        after = hn::MulAdd(x, tap[r][0], after);
      }
      if (w > 0) hn::StoreU(before, d, out + (w - 1) * channels + c);
      before = here;
      here = after;
    }
    hn::StoreU(before, d, out + (width - 1) * channels + c);
  });
}

template <int kRows>
void DepthwiseRowsGradient(const Rows& rows, const float* HWY_RESTRICT g, std::int64_t width,
                           std::int64_t channels, float* HWY_RESTRICT weight_sums) {
  ForVectors(channels, [&](auto d, std::int64_t c) {
    using V = hn::Vec<decltype(d)>;
    V sum[kRows][3];
    for (int r = 0; r < kRows; ++r)
      for (int s = 0; s < 3; ++s)
        sum[r][s] = hn::LoadU(d, weight_sums + (3 * rows.place[r] + s) * channels + c);
    V before = hn::Zero(d), here = hn::LoadU(d, g + c);
    for (std::int64_t w = 0; w < width; ++w) {
      const V after = w + 1 < width ? hn::LoadU(d, g + (w + 1) * channels + c) : hn::Zero(d);
      for (int r = 0; r < kRows; ++r) {
        const V x = hn::LoadU(d, rows.x[r] + w * channels + c);
        sum[r][2] = hn::MulAdd(x, before, sum[r][2]);
        sum[r][1] = hn::MulAdd(x, here, sum[r][1]);
        sum[r][0] = hn::MulAdd(x, after, sum[r][0]);
      }
      before = here;
      here = after;
    }
    for (int r = 0; r < kRows; ++r)
      for (int s = 0; s < 3; ++s)
        hn::StoreU(sum[r][s], d, weight_sums + (3 * rows.place[r] + s) * channels + c);
  });
}

void DepthwiseRow(const float* const x[3], const float* weights, const float* bias, std::int64_t width,
                  std::int64_t channels, float* out) {
  const Rows rows(x);
  if (rows.count == 3) return DepthwiseRows<3>(rows, weights, bias, width, channels, out);
  if (rows.count == 2) return DepthwiseRows<2>(rows, weights, bias, width, channels, out);
  DepthwiseRows<1>(rows, weights, bias, width, channels, out);
}

void DepthwiseRowGradient(const float* const x[3], const float* g, std::int64_t width, std::int64_t channels,
                          float* weight_sums) {
  const Rows rows(x);
  if (rows.count == 3) return DepthwiseRowsGradient<3>(rows, g, width, channels, weight_sums);
  if (rows.count == 2) return DepthwiseRowsGradient<2>(rows, g, width, channels, weight_sums);
  DepthwiseRowsGradient<1>(rows, g, width, channels, weight_sums);
}

// kRows sums over the line at a time, each of kVectors vectors of channels, stay in registers.
template <int kRows, int kVectors, class D>
HWY_INLINE void MixTile(D d, const float* HWY_RESTRICT weight, std::int64_t to_stride,
                        std::int64_t from_stride, const float* bias, std::int64_t length,
                        const float* HWY_RESTRICT x, std::int64_t x_stride, bool add, float* HWY_RESTRICT out,
                        std::int64_t out_stride) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  hn::Vec<D> sum[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v)
      sum[r][v] =
          add ? hn::LoadU(d, out + r * out_stride + v * lanes) : hn::Set(d, bias == nullptr ? 0.0f : bias[r]);
  for (std::int64_t t = 0; t < length; ++t) {
    hn::Vec<D> in[kVectors];
    for (int v = 0; v < kVectors; ++v) in[v] = hn::LoadU(d, x + t * x_stride + v * lanes);
    for (int r = 0; r < kRows; ++r) {
      const auto by = hn::Set(d, weight[r * to_stride + t * from_stride]);
      for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(by, in[v], sum[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) hn::StoreU(sum[r][v], d, out + r * out_stride + v * lanes);
}

template <int kVectors, class D>
HWY_INLINE void MixColumns(D d, const float* weight, std::int64_t to_stride, std::int64_t from_stride,
                           const float* bias, std::int64_t length, const float* x, std::int64_t x_stride,
                           bool add, float* out, std::int64_t out_stride) {
  constexpr int kRows = 8;
  std::int64_t r = 0;
  for (; r + kRows <= length; r += kRows)
    MixTile<kRows, kVectors>(d, weight + r * to_stride, to_stride, from_stride,
                             bias == nullptr ? nullptr : bias + r, length, x, x_stride, add,
                             out + r * out_stride, out_stride);
  for (; r + 2 <= length; r += 2)
    MixTile<2, kVectors>(d, weight + r * to_stride, to_stride, from_stride,
                         bias == nullptr ? nullptr : bias + r, length, x, x_stride, add, out + r * out_stride,
                         out_stride);
  for (; r < length; ++r)
    MixTile<1, kVectors>(d, weight + r * to_stride, to_stride, from_stride,
                         bias == nullptr ? nullptr : bias + r, length, x, x_stride, add, out + r * out_stride,
                         out_stride);
}

void MixLine(const float* weight, bool transposed, const float* bias, std::int64_t length,
             std::int64_t channels, const float* x, std::int64_t x_stride, bool add, float* out,
             std::int64_t out_stride) {
  const std::int64_t to = transposed ? 1 : length, from = transposed ? length : 1;
  std::int64_t c = 0;
  for (; c + 2 * kLanes <= channels; c += 2 * kLanes)
    MixColumns<2>(Wide(), weight, to, from, bias, length, x + c, x_stride, add, out + c, out_stride);
  for (; c + kLanes <= channels; c += kLanes)
    MixColumns<1>(Wide(), weight, to, from, bias, length, x + c, x_stride, add, out + c, out_stride);
  for (; c < channels; ++c)
    MixColumns<1>(Single(), weight, to, from, bias, length, x + c, x_stride, add, out + c, out_stride);
}

// The products of kRows tokens of g with kRows of x, summed over channels and lines in registers.
template <int kGs, int kXs>
HWY_INLINE void MixGradientTile(const float* const* g, const float* const* x, std::int64_t lines,
                                std::int64_t stride, std::int64_t channels, std::int64_t length,
                                float* HWY_RESTRICT sums) {
  const Wide d;
  hn::Vec<Wide> sum[kGs][kXs];
  float rest[kGs][kXs] = {};
  for (auto& row : sum)
    for (auto& s : row) s = hn::Zero(d);
  for (std::int64_t line = 0; line < lines; ++line) {
    std::int64_t c = 0;
    for (; c + kLanes <= channels; c += kLanes) {
      hn::Vec<Wide> in[kXs];
      for (int i = 0; i < kXs; ++i) in[i] = hn::LoadU(d, x[line] + i * stride + c);
      for (int o = 0; o < kGs; ++o) {
        const auto grad = hn::LoadU(d, g[line] + o * stride + c);
        for (int i = 0; i < kXs; ++i) sum[o][i] = hn::MulAdd(grad, in[i], sum[o][i]);
      }
    }
    for (; c < channels; ++c)
      for (int o = 0; o < kGs; ++o)
        for (int i = 0; i < kXs; ++i) rest[o][i] += g[line][o * stride + c] * x[line][i * stride + c];
  }
  for (int o = 0; o < kGs; ++o)
    for (int i = 0; i < kXs; ++i)
      sums[o * length + i] += hn::GetLane(hn::SumOfLanes(d, sum[o][i])) + rest[o][i];
}

template <int kGs>
HWY_INLINE void MixGradientRows(const float* const* g, const float** x, std::int64_t lines,
                                std::int64_t stride, std::int64_t channels, std::int64_t length,
                                float* sums) {
  std::int64_t i = 0;
  const auto advance = [&](std::int64_t by) {
    i += by;
    for (std::int64_t line = 0; line < lines; ++line) x[line] += by * stride;
  };
  for (; i + 4 <= length; advance(4))
    MixGradientTile<kGs, 4>(g, x, lines, stride, channels, length, sums + i);
  for (; i < length; advance(1)) MixGradientTile<kGs, 1>(g, x, lines, stride, channels, length, sums + i);
  for (std::int64_t line = 0; line < lines; ++line) x[line] -= length * stride;
}

void MixGradient(const float** g, const float** x, std::int64_t lines, std::int64_t stride,
                 std::int64_t channels, std::int64_t length, float* sums) {
  std::int64_t o = 0;
  const auto advance = [&](std::int64_t by) {
    o += by;
    for (std::int64_t line = 0; line < lines; ++line) g[line] += by * stride;
  };
  for (; o + 4 <= length; advance(4))
    MixGradientRows<4>(g, x, lines, stride, channels, length, sums + o * length);
  for (; o < length; advance(1)) MixGradientRows<1>(g, x, lines, stride, channels, length, sums + o * length);
}

}  // namespace tulle::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tulle::kernels {

HWY_EXPORT(MixLine);
HWY_EXPORT(MixGradient);
HWY_EXPORT(DepthwiseRow);
HWY_EXPORT(DepthwiseRowGradient);

void depthwise_row(const float* const x[3], const float* weights, const float* bias, std::int64_t width,
                   std::int64_t channels, float* out) noexcept {
  HWY_DYNAMIC_DISPATCH(DepthwiseRow)(x, weights, bias, width, channels, out);
}
void depthwise_row_gradient(const float* const x[3], const float* g, std::int64_t width,
                            std::int64_t channels, float* weight_sums) noexcept {
  HWY_DYNAMIC_DISPATCH(DepthwiseRowGradient)(x, g, width, channels, weight_sums);
}
void mix_line(const float* weight, bool transposed, const float* bias, std::int64_t length,
              std::int64_t channels, const float* x, std::int64_t x_stride, bool add, float* out,
              std::int64_t out_stride) noexcept {
  HWY_DYNAMIC_DISPATCH(MixLine)
  (weight, transposed, bias, length, channels, x, x_stride, add, out, out_stride);
}
void mix_gradient(const float** g, const float** x, std::int64_t lines, std::int64_t stride,
                  std::int64_t channels, std::int64_t length, float* sums) noexcept {
  HWY_DYNAMIC_DISPATCH(MixGradient)(g, x, lines, stride, channels, length, sums);
}

}  // namespace tulle::kernels
#endif
