#include "tulle/kernels/tokens.h"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tulle/kernels/tokens.cpp"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace tulle::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Wide = hn::CappedTag<float, 16>;
using Single = hn::CappedTag<float, 1>;
constexpr std::int64_t kLanes = static_cast<std::int64_t>(hn::MaxLanes(Wide()));

// body(tag, i) for whole vectors of [0, count), then one by one for what is left.
template <class Body>
HWY_INLINE void ForVectors(std::int64_t count, const Body& body) {
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) body(Wide(), i);
  for (; i < count; ++i) body(Single(), i);
}

// exp(-x) for x >= 0: 2^(whole + rest) with the rest in [-1/2, 1/2] by its Taylor series to the sixth power,
// off by 2e-7 relatively; 0 from x = 87 on.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Decay(D d, V x) {
  const hn::RebindToSigned<D> whole_numbers;
  const V power = hn::Mul(hn::Min(x, hn::Set(d, 87.0f)), hn::Set(d, -1.44269504089f));
  const V whole = hn::Round(power);
  const V rest = hn::Sub(power, whole);
  V sum = hn::MulAdd(rest, hn::Set(d, 1.54035304e-4f), hn::Set(d, 1.33335581e-3f));
  sum = hn::MulAdd(sum, rest, hn::Set(d, 9.61812911e-3f));
  sum = hn::MulAdd(sum, rest, hn::Set(d, 5.55041087e-2f));
  sum = hn::MulAdd(sum, rest, hn::Set(d, 2.40226507e-1f));
  sum = hn::MulAdd(sum, rest, hn::Set(d, 6.93147181e-1f));
  sum = hn::MulAdd(sum, rest, hn::Set(d, 1.0f));
  const auto exponent = hn::ShiftLeft<23>(hn::ConvertTo(whole_numbers, whole));
  return hn::BitCast(d, hn::Add(hn::BitCast(whole_numbers, sum), exponent));
}

// 1 / x for x >= 1.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Reciprocal(D d, V x) {
#if HWY_TARGET <= HWY_AVX3
  const V guess = hn::ApproximateReciprocal(x);  // 14 bits, and twice as many after one step of Newton's
  return hn::Mul(guess, hn::NegMulAdd(x, guess, hn::Set(d, 2.0f)));
#else
  return hn::Div(hn::Set(d, 1.0f), x);
#endif
}

// Phi(z), and exp(-z^2/2) on the way.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V NormalDistribution(D d, V z, V& bell) {
  const V x = hn::Mul(hn::Abs(z), hn::Set(d, 0.70710678118f));
  const V t = Reciprocal(d, hn::MulAdd(hn::Set(d, 0.3275911f), x, hn::Set(d, 1.0f)));
  bell = Decay(d, hn::Mul(x, x));
  V poly = hn::MulAdd(hn::Set(d, 1.061405429f), t, hn::Set(d, -1.453152027f));
  poly = hn::MulAdd(poly, t, hn::Set(d, 1.421413741f));
  poly = hn::MulAdd(poly, t, hn::Set(d, -0.284496736f));
  poly = hn::MulAdd(poly, t, hn::Set(d, 0.254829592f));
  const V tail = hn::Mul(hn::Mul(hn::Mul(poly, t), bell), hn::Set(d, 0.5f));
  return hn::IfThenElse(hn::Ge(z, hn::Zero(d)), hn::Sub(hn::Set(d, 1.0f), tail), tail);
}

// z Phi(z) with Phi(z) - 1/2 = z P(z^2) / Q(z^2), fitted for the least error within 5.5 (7e-9, below what
// floats show); beyond it Phi is 0 or 1. Without an exponential it takes three quarters of the time.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V GeluOf(D d, V z) {
  const V end = hn::Set(d, 5.5f);
  const V low = hn::IfThenElse(hn::Lt(z, hn::Neg(end)), hn::Neg(end), z);  // not Max: NaN stays NaN
  const V x = hn::IfThenElse(hn::Gt(low, end), end, low);
  const V t = hn::Mul(x, x);
  V p = hn::MulAdd(t, hn::Set(d, 2.2749343742134442e-08f), hn::Set(d, 6.352106083795661e-06f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.00016882555792108178f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.004677260294556618f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.03385264798998833f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.398942232131958f));
  V q = hn::MulAdd(t, hn::Set(d, 1.1975023426202824e-06f), hn::Set(d, 7.364740304183215e-05f));
  q = hn::MulAdd(q, t, hn::Set(d, 0.0018844443839043379f));
  q = hn::MulAdd(q, t, hn::Set(d, 0.028645871207118034f));
  q = hn::MulAdd(q, t, hn::Set(d, 0.25152191519737244f));
  q = hn::MulAdd(q, t, hn::Set(d, 1.0f));
  const V phi = hn::MulAdd(hn::Mul(x, p), Reciprocal(d, q), hn::Set(d, 0.5f));
  return hn::Mul(low, phi);
}

void Gelu(const float* z, std::int64_t values, float* out) {
  ForVectors(values, [&](auto d, std::int64_t i) { hn::StoreU(GeluOf(d, hn::LoadU(d, z + i)), d, out + i); });
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE void StoreGeluAndSlope(D d, V z, float* out, float* slope) {
  V bell;
  const V phi = NormalDistribution(d, z, bell);
  hn::StoreU(hn::Mul(z, phi), d, out);
  hn::StoreU(hn::MulAdd(hn::Mul(z, bell), hn::Set(d, 0.39894228040f), phi), d, slope);
}

void GeluAndSlope(const float* z, std::int64_t values, float* out, float* slope) {
  ForVectors(values,
             [&](auto d, std::int64_t i) { StoreGeluAndSlope(d, hn::LoadU(d, z + i), out + i, slope + i); });
}

void MultiplyRows(const float* x, std::int64_t x_stride, const float* y, std::int64_t rows,
                  std::int64_t channels, float* out) {
  for (std::int64_t r = 0; r < rows; ++r, x += x_stride, y += channels, out += channels)
    ForVectors(channels, [&](auto d, std::int64_t c) {
      hn::StoreU(hn::Mul(hn::LoadU(d, x + c), hn::LoadU(d, y + c)), d, out + c);
    });
}

void BiasGelu(float* z, const float* bias, std::int64_t rows, std::int64_t channels, float* out) {
  for (std::int64_t r = 0; r < rows; ++r, z += channels, out += channels)
    ForVectors(channels, [&](auto d, std::int64_t c) {
      const auto sum = hn::Add(hn::LoadU(d, z + c), hn::LoadU(d, bias + c));
      hn::StoreU(sum, d, z + c);
      hn::StoreU(GeluOf(d, sum), d, out + c);
    });
}

void AffineGelu(const float* x, const float* scale, const float* shift, std::int64_t rows,
                std::int64_t channels, float* out, std::int64_t out_stride) {
  for (std::int64_t r = 0; r < rows; ++r, x += channels, out += out_stride)
    ForVectors(channels, [&](auto d, std::int64_t c) {
      const auto z = hn::MulAdd(hn::LoadU(d, x + c), hn::LoadU(d, scale + c), hn::LoadU(d, shift + c));
      hn::StoreU(GeluOf(d, z), d, out + c);
    });
}

void AffineGeluAndSlope(const float* x, const float* scale, const float* shift, std::int64_t rows,
                        std::int64_t channels, float* out, std::int64_t out_stride, float* slope) {
  for (std::int64_t r = 0; r < rows; ++r, x += channels, out += out_stride, slope += channels)
    ForVectors(channels, [&](auto d, std::int64_t c) {
      const auto z = hn::MulAdd(hn::LoadU(d, x + c), hn::LoadU(d, scale + c), hn::LoadU(d, shift + c));
      StoreGeluAndSlope(d, z, out + c, slope + c);
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

// body(tag, c, sum) adds the vector at channel c to a sum; the sum over the channels.
template <class Body>
HWY_INLINE float SumOver(std::int64_t channels, const Body& body) {
  const Wide d;
  auto sum = hn::Zero(d);
  std::int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes) sum = body(d, c, sum);
  float total = hn::GetLane(hn::SumOfLanes(d, sum));
  for (; c < channels; ++c) total += hn::GetLane(body(Single(), c, hn::Zero(Single())));
  return total;
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
    const float factor = 1.0f / std::sqrt(variance + 1e-5f);
    mean[r] = middle;
    rstd[r] = factor;
    ForVectors(channels, [&](auto d, std::int64_t c) {
      const auto off = hn::Mul(hn::Sub(hn::LoadU(d, x + c), hn::Set(d, middle)), hn::Set(d, factor));
      hn::StoreU(hn::MulAdd(off, hn::LoadU(d, gamma + c), hn::LoadU(d, beta + c)), d, out + c);
    });
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

void ToPanel(const float* x, std::int64_t rows, std::int64_t channels, int width, float* out) {
  Transpose(x, channels, rows, channels, out, width);
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

HWY_EXPORT(Gelu);
HWY_EXPORT(GeluAndSlope);
HWY_EXPORT(MultiplyRows);
HWY_EXPORT(BiasGelu);
HWY_EXPORT(AffineGelu);
HWY_EXPORT(AffineGeluAndSlope);
HWY_EXPORT(ChannelMoments);
HWY_EXPORT(ChannelDots);
HWY_EXPORT(AddChannelSums);
HWY_EXPORT(CombineChannels);
HWY_EXPORT(LayerNorm);
HWY_EXPORT(LayerNormBack);
HWY_EXPORT(AddBranch);
HWY_EXPORT(ScaleRows);
HWY_EXPORT(ToPanel);
HWY_EXPORT(FromPanel);
HWY_EXPORT(MixLine);
HWY_EXPORT(MixGradient);
HWY_EXPORT(ChannelTotals);
HWY_EXPORT(DepthwiseRow);
HWY_EXPORT(DepthwiseRowGradient);

void gelu(const float* z, std::int64_t values, float* out) noexcept {
  HWY_DYNAMIC_DISPATCH(Gelu)(z, values, out);
}
void gelu_and_slope(const float* z, std::int64_t values, float* out, float* slope) noexcept {
  HWY_DYNAMIC_DISPATCH(GeluAndSlope)(z, values, out, slope);
}
void multiply_rows(const float* x, std::int64_t x_stride, const float* y, std::int64_t rows,
                   std::int64_t channels, float* out) noexcept {
  HWY_DYNAMIC_DISPATCH(MultiplyRows)(x, x_stride, y, rows, channels, out);
}
void bias_gelu(float* z, const float* bias, std::int64_t rows, std::int64_t channels, float* out) noexcept {
  HWY_DYNAMIC_DISPATCH(BiasGelu)(z, bias, rows, channels, out);
}
void affine_gelu(const float* x, const float* scale, const float* shift, std::int64_t rows,
                 std::int64_t channels, float* out, std::int64_t out_stride) noexcept {
  HWY_DYNAMIC_DISPATCH(AffineGelu)(x, scale, shift, rows, channels, out, out_stride);
}
void affine_gelu_and_slope(const float* x, const float* scale, const float* shift, std::int64_t rows,
                           std::int64_t channels, float* out, std::int64_t out_stride,
                           float* slope) noexcept {
  HWY_DYNAMIC_DISPATCH(AffineGeluAndSlope)(x, scale, shift, rows, channels, out, out_stride, slope);
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
void add_channel_totals(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t channels,
                        float* totals) noexcept {
  HWY_DYNAMIC_DISPATCH(ChannelTotals)(x, stride, rows, channels, totals);
}

void to_panel(const float* x, std::int64_t rows, std::int64_t channels, int width, float* out) noexcept {
  HWY_DYNAMIC_DISPATCH(ToPanel)(x, rows, channels, width, out);
}
void from_panel(const float* x, std::int64_t rows, std::int64_t channels, int width, float* out) noexcept {
  HWY_DYNAMIC_DISPATCH(FromPanel)(x, rows, channels, width, out);
}

}  // namespace tulle::kernels
#endif
