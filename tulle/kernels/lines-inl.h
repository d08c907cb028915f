// Vectors of one line (16 samples) for the instruction set being compiled; included by kernel files after
// hwy/foreach_target.h, once per target.
#if defined(TULLE_KERNELS_LINES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TULLE_KERNELS_LINES_INL_H_
#undef TULLE_KERNELS_LINES_INL_H_
#else
#define TULLE_KERNELS_LINES_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace tulle::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A line is 16 samples on every instruction set: sums over a batch follow the same tree of 16 lanes
// everywhere.
constexpr int kLine = 16;
using Floats = hn::CappedTag<float, kLine>;
using Vector = hn::Vec<Floats>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(Floats()));
constexpr int kVectorsPerLine = kLine / kLanes;

// The same vector, loaded once: without this the compiler reads it from memory anew for each use, and a line
// that is still on its way from L2 then takes twice as long (a third of the backward pass on a Xeon).
HWY_INLINE Vector Once(Vector v) {
#if HWY_ARCH_X86
  asm("" : "+v"(v.raw));
#endif
  return v;
}

// {a0+a1, a2+a3, ..., b0+b1, ...}: halves two vectors into one, order kept.
HWY_INLINE Vector PairAdd(Vector a, Vector b) {
#if HWY_TARGET == HWY_SCALAR
  return hn::Add(a, b);
#else
  const Floats d;
  return hn::Add(hn::ConcatEven(d, b, a), hn::ConcatOdd(d, b, a));
#endif
}

// sums[j] = the sum of the 16 floats of line j, for 16 lines that lie one after another; always the same
// tree: neighbours first. 16 sums together cost 4 shuffle levels, one alone would cost as many.
HWY_INLINE void SumLines(const float* HWY_RESTRICT lines, float* HWY_RESTRICT sums) {
  const Floats d;
  Vector v[kLine * kVectorsPerLine];
  for (int i = 0; i < kLine * kVectorsPerLine; ++i) v[i] = hn::Load(d, lines + i * kLanes);
  for (int count = kLine * kVectorsPerLine / 2; count >= kVectorsPerLine; count /= 2)
    for (int i = 0; i < count; ++i) v[i] = PairAdd(v[2 * i], v[2 * i + 1]);
  for (int i = 0; i < kVectorsPerLine; ++i) hn::Store(v[i], d, sums + i * kLanes);
}

// One bit per sample: bit s of a line's 16-bit word belongs to sample s.
template <class Mask>
HWY_INLINE std::uint32_t MaskToBits(Mask mask) {
#if HWY_TARGET == HWY_SCALAR
  return mask.bits != 0 ? 1u : 0u;
#else
  const Floats d;
  std::uint8_t bytes[8] = {};
  hn::StoreMaskBits(d, mask, bytes);
  return static_cast<std::uint32_t>(bytes[0]) | static_cast<std::uint32_t>(bytes[1]) << 8;
#endif
}

HWY_INLINE hn::Mask<Floats> MaskFromBits(std::uint32_t bits) {
  const Floats d;
#if HWY_TARGET == HWY_SCALAR
  return hn::MaskFromVec(
      hn::BitCast(d, hn::Set(hn::RebindToUnsigned<Floats>(), (bits & 1u) != 0 ? ~0u : 0u)));
#else
  const std::uint8_t bytes[8] = {static_cast<std::uint8_t>(bits), static_cast<std::uint8_t>(bits >> 8)};
  return hn::LoadMaskBits(d, bytes);
#endif
}

}  // namespace tulle::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
