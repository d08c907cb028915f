#include "tulle/kernels/gather.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tulle/kernels/gather.cpp"
#include <hwy/foreach_target.h>
//
#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "tulle/kernels/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tulle::kernels::HWY_NAMESPACE {

constexpr std::int64_t kSide =
    16;  // samples and features of a block; 16 floats fill one cache line of the panel
constexpr std::int64_t kBlock = kSide * kSide;

// Interleaves the four quarters of a block, like a deck of cards: out[4 k + q] = in[q][k]. Twice in a row
// transposes 16 x 16 values.
template <class T>
HWY_INLINE void Riffle(const T* HWY_RESTRICT in, T* HWY_RESTRICT out) {
  constexpr std::int64_t kQuarter = kBlock / 4;
  const hn::CappedTag<T, kQuarter> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t k = 0; k < kQuarter; k += lanes)
    hn::StoreInterleaved4(hn::LoadU(d, in + k), hn::LoadU(d, in + kQuarter + k),
                          hn::LoadU(d, in + 2 * kQuarter + k), hn::LoadU(d, in + 3 * kQuarter + k), d,
                          out + 4 * k);
}

template <class D>
HWY_INLINE hn::Vec<D> LoadFloats(D d, const float* in) {
  return hn::LoadU(d, in);
}
template <class D>
HWY_INLINE hn::Vec<D> LoadFloats(D d, const std::uint8_t* in) {
  const hn::Rebind<std::uint8_t, D> bytes;
  return hn::ConvertTo(d, hn::PromoteTo(hn::RebindToSigned<D>(), hn::LoadU(bytes, in)));
}

// One line of the panel: a feature of 16 samples.
template <class T>
HWY_INLINE void ScaleLine(const T* HWY_RESTRICT in, float mean, float factor, float* HWY_RESTRICT out) {
  const Wide d;
  for (std::int64_t s = 0; s < kSide; s += kLanes)
    hn::StoreU(hn::Mul(hn::Sub(LoadFloats(d, in + s), hn::Set(d, mean)), hn::Set(d, factor)), d, out + s);
}

// A length the compiler knows is one vector's copy instead of a call.
template <class T>
HWY_INLINE void CopyRow(const T* row, std::int64_t length, T* out) {
  if (length == kSide)
    std::copy_n(row, kSide, out);
  else
    std::copy_n(row, length, out);
}

// Goes along 16 rows at a time, and asks for the next 16 meanwhile: they lie anywhere in memory.
template <class T>
void Gather(const T* rows, std::int64_t row_stride, std::span<const std::uint32_t> samples, Range features,
            const float* mean, const float* factor, float* panel, int width) {
  constexpr std::int64_t kValuesPerLine = std::max<std::int64_t>(kSide, 64 / sizeof(T));  // of the cache
  HWY_ALIGN T block[kBlock] = {}, half[kBlock], turned[kBlock];
  HWY_ALIGN float scaled[kSide];
  const auto count = static_cast<std::int64_t>(samples.size());
  for (std::int64_t line = 0; line < width; line += kSide) {
    const std::int64_t used = std::clamp(count - line, std::int64_t{0}, kSide);
    const std::int64_t next = std::clamp(count - line - kSide, std::int64_t{0}, kSide);
    for (std::int64_t first = features.begin; first < features.end; first += kSide) {
      const std::int64_t length = std::min(kSide, features.end - first);
      if ((first - features.begin) % kValuesPerLine == 0)
        for (std::int64_t s = 0; s < next; ++s)
          hwy::Prefetch(rows + samples[static_cast<std::size_t>(line + kSide + s)] * row_stride + first);
      for (std::int64_t s = 0; s < used; ++s)
        CopyRow(rows + samples[static_cast<std::size_t>(line + s)] * row_stride + first, length,
                block + s * kSide);
      Riffle(block, half);
      Riffle(half, turned);
      for (std::int64_t f = 0; f < length; ++f) {
        float* const place = panel + (first + f) * width + line;
        float* const out = width < kSide ? scaled : place;
        ScaleLine(turned + f * kSide, mean[first + f], factor[first + f], out);
        std::fill(out + used, out + kSide, 0.0f);
        if (width < kSide) std::copy_n(scaled, width, place);
      }
    }
  }
}

void GatherBytes(const std::uint8_t* rows, std::int64_t row_stride, std::span<const std::uint32_t> samples,
                 Range features, const float* mean, const float* factor, float* panel, int width) {
  Gather(rows, row_stride, samples, features, mean, factor, panel, width);
}

void GatherFloats(const float* rows, std::int64_t row_stride, std::span<const std::uint32_t> samples,
                  Range features, const float* mean, const float* factor, float* panel, int width) {
  Gather(rows, row_stride, samples, features, mean, factor, panel, width);
}

}  // namespace tulle::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tulle::kernels {

HWY_EXPORT(GatherBytes);
HWY_EXPORT(GatherFloats);

void gather_panel(const std::uint8_t* rows, std::int64_t row_stride, std::span<const std::uint32_t> samples,
                  Range features, const float* mean, const float* factor, float* panel, int width) noexcept {
  HWY_DYNAMIC_DISPATCH(GatherBytes)(rows, row_stride, samples, features, mean, factor, panel, width);
}

void gather_panel(const float* rows, std::int64_t row_stride, std::span<const std::uint32_t> samples,
                  Range features, const float* mean, const float* factor, float* panel, int width) noexcept {
  HWY_DYNAMIC_DISPATCH(GatherFloats)(rows, row_stride, samples, features, mean, factor, panel, width);
}

}  // namespace tulle::kernels
#endif
