#include "tulle/kernels/narrow.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tulle/kernels/narrow.cpp"
#include <hwy/foreach_target.h>  // compiles this file once per target

#include <hwy/highway.h>

#include "tulle/kernels/lines-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tulle::kernels::HWY_NAMESPACE {

void RoundToBf16(const float* HWY_RESTRICT x, std::int64_t values, float* HWY_RESTRICT rounded) {
  const Floats d;
  const BitVector upper = hn::Set(Bits32(), 0xffff0000u);
  std::int64_t i = 0;
  for (; i + kLanes <= values; i += kLanes)
    hn::StoreU(hn::BitCast(d, hn::And(Rounded(d, hn::LoadU(d, x + i)), upper)), d, rounded + i);
  for (; i < values; ++i)
    rounded[i] = hn::GetLane(hn::BitCast(d, hn::And(Rounded(d, hn::Set(d, x[i])), upper)));
}

void NarrowInOrder(const float* HWY_RESTRICT x, std::int64_t values, std::uint16_t* HWY_RESTRICT rounded) {
  const Floats d;
  std::int64_t i = 0;
  for (; i + kLanes <= values; i += kLanes) StoreRounded(d, hn::LoadU(d, x + i), rounded + i);
  for (; i < values; ++i)
    rounded[i] = static_cast<std::uint16_t>(hn::GetLane(Rounded(d, hn::Set(d, x[i]))) >> 16);
}

void Narrow(const float* HWY_RESTRICT x, std::int64_t values, Bf16Pair* HWY_RESTRICT pairs) {
  const Floats d;
  const Bits32 u;
  const BitVector upper = hn::Set(u, 0xffff0000u);
  for (std::int64_t i = 0; i < values; i += 2 * kLine)
    for (int s = 0; s < kLine; s += kLanes) {
      const BitVector low = hn::ShiftRight<16>(Rounded(d, hn::Load(d, x + i + s)));
      const BitVector high = hn::And(Rounded(d, hn::Load(d, x + i + kLine + s)), upper);
      hn::Store(hn::Or(low, high), u, pairs + i / 2 + s);
    }
}

}  // namespace tulle::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tulle::kernels {

HWY_EXPORT(Narrow);
HWY_EXPORT(NarrowInOrder);
HWY_EXPORT(RoundToBf16);

void round_to_bf16(const float* x, std::int64_t values, float* rounded) noexcept {
  HWY_DYNAMIC_DISPATCH(RoundToBf16)(x, values, rounded);
}

void narrow_in_order(const float* x, std::int64_t values, std::uint16_t* rounded) noexcept {
  HWY_DYNAMIC_DISPATCH(NarrowInOrder)(x, values, rounded);
}

void narrow(const float* x, std::int64_t values, Bf16Pair* pairs) noexcept {
  HWY_DYNAMIC_DISPATCH(Narrow)(x, values, pairs);
}

}  // namespace tulle::kernels
#endif
