#include "tulle/kernels/gated.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tulle/kernels/gated.cpp"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace tulle::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Doubles = hn::CappedTag<double, 8>;
using Halves = hn::Rebind<float, Doubles>;  // as many floats
constexpr std::int64_t kLanes = static_cast<std::int64_t>(hn::MaxLanes(Doubles()));
constexpr std::int64_t kVectors = 8;  // in flight: enough to hide the latency of their additions
constexpr std::int64_t kBlock = kVectors * kLanes;
constexpr std::int64_t kStreams = 8;  // columns read side by side
static_assert(kGateRows % kBlock == 0);

HWY_INLINE hn::Vec<Doubles> Widened(const float* x) {
  return hn::PromoteTo(Doubles(), hn::LoadU(Halves(), x));
}

// The gates of kLanes rows, from row i on.
HWY_INLINE hn::Mask<Doubles> Gates(const std::uint64_t* bits, std::int64_t i) {
  const std::uint64_t word = bits[i / 64] >> (i % 64);
  return hn::LoadMaskBits(Doubles(), reinterpret_cast<const std::uint8_t*>(&word));
}

// A few columns at a time, so that each is read as a stream; a block of rows stays in registers meanwhile.
void CombineColumns(const float* HWY_RESTRICT x, std::int64_t stride,
                    const std::int32_t* HWY_RESTRICT features, const double* HWY_RESTRICT values,
                    std::int64_t count, std::int64_t rows, double* HWY_RESTRICT t) {
  const Doubles d;
  if (count == 0) std::fill_n(t, rows, 0.0);
  for (std::int64_t first = 0; first < count; first += kStreams) {
    const std::int64_t end = std::min(count, first + kStreams);
    for (std::int64_t i = 0; i < rows; i += kBlock) {
      hn::Vec<Doubles> sum[kVectors];
      for (std::int64_t v = 0; v < kVectors; ++v)
        sum[v] = first == 0 ? hn::Zero(d) : hn::LoadU(d, t + i + v * kLanes);
      for (std::int64_t k = first; k < end; ++k) {
        const float* const column = x + features[k] * stride + i;
        const auto value = hn::Set(d, values[k]);
        for (std::int64_t v = 0; v < kVectors; ++v)
          sum[v] = hn::MulAdd(value, Widened(column + v * kLanes), sum[v]);
      }
      for (std::int64_t v = 0; v < kVectors; ++v) hn::StoreU(sum[v], d, t + i + v * kLanes);
    }
  }
}

void DotColumns(const float* HWY_RESTRICT x, std::int64_t stride, const std::int32_t* HWY_RESTRICT features,
                std::int64_t count, const double* HWY_RESTRICT r, std::int64_t rows,
                double* HWY_RESTRICT sums) {
  const Doubles d;
  for (std::int64_t k = 0; k < count; ++k) {
    const float* const column = x + features[k] * stride;
    hn::Vec<Doubles> sum[kVectors];
    for (auto& s : sum) s = hn::Zero(d);
    for (std::int64_t i = 0; i < rows; i += kBlock)
      for (std::int64_t v = 0; v < kVectors; ++v)
        sum[v] = hn::MulAdd(hn::LoadU(d, r + i + v * kLanes), Widened(column + i + v * kLanes), sum[v]);
    for (std::int64_t half = kVectors / 2; half > 0; half /= 2)
      for (std::int64_t v = 0; v < half; ++v) sum[v] = hn::Add(sum[v], sum[v + half]);
    sums[k] += hn::GetLane(hn::SumOfLanes(d, sum[0]));
  }
}

void PositiveGates(const double* HWY_RESTRICT t, std::int64_t rows, std::uint64_t* HWY_RESTRICT bits) {
  const Doubles d;
  for (std::int64_t i = 0; i < rows; i += 64) {
    std::uint64_t word = 0;
    for (std::int64_t j = 0; j < 64; j += kLanes) {
      std::uint64_t some = 0;
      hn::StoreMaskBits(d, hn::Gt(hn::LoadU(d, t + i + j), hn::Zero(d)),
                        reinterpret_cast<std::uint8_t*>(&some));
      word |= some << j;
    }
    bits[i / 64] = word;
  }
}

void AddGated(const double* HWY_RESTRICT t, const std::uint64_t* HWY_RESTRICT bits, std::int64_t rows,
              double* HWY_RESTRICT y) {
  const Doubles d;
  for (std::int64_t i = 0; i < rows; i += kLanes)
    hn::StoreU(hn::Add(hn::LoadU(d, y + i), hn::IfThenElseZero(Gates(bits, i), hn::LoadU(d, t + i))), d,
               y + i);
}

void AddRectified(const double* HWY_RESTRICT t, bool positive, std::int64_t rows, double* HWY_RESTRICT y) {
  const Doubles d;
  for (std::int64_t i = 0; i < rows; i += kLanes) {
    const auto value = hn::LoadU(d, t + i);
    const auto open = positive ? hn::Max(value, hn::Zero(d)) : hn::Min(value, hn::Zero(d));
    hn::StoreU(hn::Add(hn::LoadU(d, y + i), open), d, y + i);
  }
}

void Gate(const double* HWY_RESTRICT r, const std::uint64_t* HWY_RESTRICT bits, std::int64_t rows,
          double* HWY_RESTRICT out) {
  const Doubles d;
  for (std::int64_t i = 0; i < rows; i += kLanes)
    hn::StoreU(hn::IfThenElseZero(Gates(bits, i), hn::LoadU(d, r + i)), d, out + i);
}

void GateNarrow(const double* HWY_RESTRICT r, const std::uint64_t* HWY_RESTRICT bits, std::int64_t rows,
                float* HWY_RESTRICT out) {
  const Doubles d;
  for (std::int64_t i = 0; i < rows; i += kLanes)
    hn::StoreU(hn::DemoteTo(Halves(), hn::IfThenElseZero(Gates(bits, i), hn::LoadU(d, r + i))), Halves(),
               out + i);
}

}  // namespace tulle::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tulle::kernels {

HWY_EXPORT(CombineColumns);
HWY_EXPORT(DotColumns);
HWY_EXPORT(PositiveGates);
HWY_EXPORT(AddGated);
HWY_EXPORT(AddRectified);
HWY_EXPORT(Gate);
HWY_EXPORT(GateNarrow);

void combine_columns(const float* x, std::int64_t stride, const std::int32_t* features, const double* values,
                     std::int64_t count, std::int64_t rows, double* t) noexcept {
  HWY_DYNAMIC_DISPATCH(CombineColumns)(x, stride, features, values, count, rows, t);
}

void dot_columns(const float* x, std::int64_t stride, const std::int32_t* features, std::int64_t count,
                 const double* r, std::int64_t rows, double* sums) noexcept {
  HWY_DYNAMIC_DISPATCH(DotColumns)(x, stride, features, count, r, rows, sums);
}

void positive_gates(const double* t, std::int64_t rows, std::uint64_t* bits) noexcept {
  HWY_DYNAMIC_DISPATCH(PositiveGates)(t, rows, bits);
}

void add_gated(const double* t, const std::uint64_t* bits, std::int64_t rows, double* y) noexcept {
  HWY_DYNAMIC_DISPATCH(AddGated)(t, bits, rows, y);
}

void add_rectified(const double* t, bool positive, std::int64_t rows, double* y) noexcept {
  HWY_DYNAMIC_DISPATCH(AddRectified)(t, positive, rows, y);
}

void gate(const double* r, const std::uint64_t* bits, std::int64_t rows, double* out) noexcept {
  HWY_DYNAMIC_DISPATCH(Gate)(r, bits, rows, out);
}

void gate(const double* r, const std::uint64_t* bits, std::int64_t rows, float* out) noexcept {
  HWY_DYNAMIC_DISPATCH(GateNarrow)(r, bits, rows, out);
}

}  // namespace tulle::kernels
#endif
