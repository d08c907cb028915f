#include "tulle/kernels/gelu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tulle/kernels/gelu.cpp"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include "tulle/kernels/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tulle::kernels::HWY_NAMESPACE {

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

}  // namespace tulle::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tulle::kernels {

HWY_EXPORT(Gelu);
HWY_EXPORT(GeluAndSlope);
HWY_EXPORT(BiasGelu);
HWY_EXPORT(AffineGelu);
HWY_EXPORT(AffineGeluAndSlope);

void gelu(const float* z, std::int64_t values, float* out) noexcept {
  HWY_DYNAMIC_DISPATCH(Gelu)(z, values, out);
}
void gelu_and_slope(const float* z, std::int64_t values, float* out, float* slope) noexcept {
  HWY_DYNAMIC_DISPATCH(GeluAndSlope)(z, values, out, slope);
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

}  // namespace tulle::kernels
#endif
