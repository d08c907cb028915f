#include "tulle/kernels/spmm.h"

#include <algorithm>
#include <type_traits>

#include "tulle/base/half.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tulle/kernels/spmm.cpp"
#include <hwy/foreach_target.h>  // compiles this file once per target

#include <hwy/highway.h>

#include "tulle/kernels/neuron-inl.h"
#include "tulle/kernels/pending_sums-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tulle::kernels::HWY_NAMESPACE {

HWY_INLINE float AsFloat(float weight) { return weight; }
HWY_INLINE float AsFloat(std::uint16_t weight) { return bf16_to_float(weight); }

// One row at a time: its line of sums stays in registers, each connection broadcasts its weight and adds one
// line of x. With tiles narrow enough for x to stay in L1 this runs at one line per load; without, at the
// speed of L2.
template <int kWidth, class Lines, bool kFar, class View>
void ForwardRows(const View& w, Range rows, const typename Lines::Element* HWY_RESTRICT x,
                 float* HWY_RESTRICT y, const Epilogue& epilogue, Tile tile) {
  using S = Samples<kWidth>;
  // The pieces of rows that a tile holds are far apart: no processor foresees where the next ones lie.
  constexpr std::int64_t kAhead = 8;  // rows
  const bool in_pieces = !tile.first || !tile.last;
  constexpr std::int64_t kLinksAhead = 32;
  const std::int64_t last = w.end[rows.end - 1] - 1;
  const typename S::Tag d;
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    float* HWY_RESTRICT out = y == nullptr ? nullptr : y + row * kWidth;
    typename S::Vector sums[S::kVectors];
    for (int v = 0; v < S::kVectors; ++v)
      sums[v] = tile.first ? hn::Zero(d) : hn::Load(d, out + v * S::kLanes);
    const std::int64_t end = w.end[row];
    if (in_pieces) {
      const std::int64_t ahead = w.begin[std::min(row + kAhead, rows.end - 1)];
      hwy::Prefetch(w.values + ahead);
      hwy::Prefetch(w.values + ahead + kLine);
      hwy::Prefetch(w.columns + ahead);
      hwy::Prefetch(w.columns + ahead + kLine);
    }
    for (std::int64_t k = w.begin[row]; k < end; ++k) {
      if (kFar)
        PrefetchLines<Lines, kWidth>(x + std::int64_t{w.columns[std::min(k + kLinksAhead, last)]} *
                                             Lines::Stride(kWidth));
      const auto weight = hn::Set(d, AsFloat(w.values[k]));
      Lines::template ForVectors<kWidth>(
          x + static_cast<std::int64_t>(w.columns[k]) * Lines::Stride(kWidth),
          [&](int v, typename S::Vector source) { sums[v] = hn::MulAdd(weight, source, sums[v]); });
    }
    if (tile.last)
      StoreNeuron<kWidth>(sums, row, epilogue, out);
    else
      for (int v = 0; v < S::kVectors; ++v) hn::Store(sums[v], d, out + v * S::kLanes);
  }
}

// One source at a time: its own line x and its line of gradients stay in registers; each connection loads one
// line of dz and uses it for both.
template <int kWidth, class Lines, bool kWithDx>
void BackwardSources(const SourceView& w, Range sources, const typename Lines::Element* HWY_RESTRICT x,
                     const typename Lines::Element* HWY_RESTRICT dz, float* HWY_RESTRICT dx, const Gate& gate,
                     bool add, float* HWY_RESTRICT dw, Tile tile) {
  constexpr int kStride = Lines::Stride(kWidth);
  constexpr int kVectors = kWidth / kLanes;
  const Floats d;
  PendingSums pending(add, dw);
  const std::int32_t* HWY_RESTRICT targets = w.targets;
  const float* HWY_RESTRICT values = w.values;
  // Where no tile keeps dz in the nearest cache: with nothing but sums to make, a wrongly foreseen end of a
  // row would leave the loads behind it waiting. It pays for floats alone.
  constexpr std::int64_t kAhead = 6;  // connections
  const bool far = std::is_same_v<Lines, FloatLines> && tile.first && tile.last;
  const std::int64_t last = w.begin[sources.end] - 1;
  for (std::int64_t source = sources.begin; source < sources.end; ++source) {
    typename Lines::template Own<kWidth> own;
    Lines::template Keep<kWidth>(x + source * kStride, own);
    Vector grad[kVectors];
    if (kWithDx)
      for (int v = 0; v < kVectors; ++v)
        grad[v] = tile.first ? hn::Zero(d) : hn::Load(d, dx + source * kWidth + v * kLanes);
    const std::int64_t end = w.begin[source + 1];
    for (std::int64_t k = w.begin[source]; k < end;) {
      const std::int64_t count = std::min(end - k, pending.room());
      float* HWY_RESTRICT products = pending.next();
      for (std::int64_t j = 0; j < count; ++j) {
        if (!kWithDx && far)
          PrefetchLines<Lines, kWidth>(dz + std::int64_t{targets[std::min(j + kAhead, last - k)]} * kStride);
        const Vector weight = hn::Set(d, kWithDx ? values[j] : 0.0f);
        Vector product[kVectorsPerLine];
        Lines::template Multiply<kWidth>(own, dz + std::int64_t{targets[j]} * kStride, product,
                                         [&](int v, Vector error) {
                                           if (kWithDx) grad[v] = hn::MulAdd(weight, error, grad[v]);
                                         });
        for (int s = 0; s < kVectorsPerLine; ++s) hn::Store(product[s], d, products + j * kLine + s * kLanes);
      }
      pending.added(count);
      targets += count;
      if (kWithDx) values += count;
      k += count;
    }
    if (!kWithDx) continue;
    if (tile.last)
      StoreGated<kWidth>(grad, source, gate, dx + source * kWidth);
    else
      for (int v = 0; v < kVectors; ++v) hn::Store(grad[v], d, dx + source * kWidth + v * kLanes);
  }
  pending.flush();
}

template <class Lines>
void ForwardOf(const CsrView& w, Range rows, int width, const typename Lines::Element* x, float* y,
               const Epilogue& epilogue, Tile tile) {
  if (rows.begin == rows.end) return;
  WithWidth<Lines::kLeastForward>(width, [&](auto kWidth) {
    if (tile.far)
      ForwardRows<kWidth, Lines, true>(w, rows, x, y, epilogue, tile);
    else
      ForwardRows<kWidth, Lines, false>(w, rows, x, y, epilogue, tile);
  });
}

template <class Lines>
void BackwardOf(const SourceView& w, Range sources, int width, const typename Lines::Element* x,
                const typename Lines::Element* dz, float* dx, const Gate& gate, bool add, float* dw,
                Tile tile) {
  WithWidth<Lines::kLeastWidth>(width, [&](auto kWidth) {
    if (dx == nullptr)
      BackwardSources<kWidth, Lines, false>(w, sources, x, dz, dx, gate, add, dw, tile);
    else
      BackwardSources<kWidth, Lines, true>(w, sources, x, dz, dx, gate, add, dw, tile);
  });
}

void ForwardFloat(const CsrView& w, Range rows, int width, const float* x, float* y, const Epilogue& epilogue,
                  Tile tile) {
  ForwardOf<FloatLines>(w, rows, width, x, y, epilogue, tile);
}

// Of a whole matrix whose x lies in main memory.
template <class Lines, class View>
void ForwardFar(const View& w, Range rows, int width, const typename Lines::Element* x, float* y,
                const Epilogue& epilogue) {
  if (rows.begin == rows.end) return;
  WithWidth<Lines::kLeastForward>(
      width, [&](auto kWidth) { ForwardRows<kWidth, Lines, true>(w, rows, x, y, epilogue, {}); });
}

void ForwardBf16Weights(const Bf16CsrView& w, Range rows, int width, const float* x, float* y,
                        const Epilogue& epilogue) {
  ForwardFar<FloatLines>(w, rows, width, x, y, epilogue);
}

void ForwardNarrow(const CsrView& w, Range rows, int width, const std::uint16_t* x, float* y,
                   const Epilogue& epilogue, Tile tile) {
  ForwardOf<NarrowLines>(w, rows, width, x, y, epilogue, tile);
}

void ForwardNarrowBf16Weights(const Bf16CsrView& w, Range rows, int width, const std::uint16_t* x, float* y,
                              const Epilogue& epilogue) {
  ForwardFar<NarrowLines>(w, rows, width, x, y, epilogue);
}

void ForwardBf16(const CsrView& w, Range rows, int width, const Bf16Pair* x, float* y,
                 const Epilogue& epilogue, Tile tile) {
  ForwardOf<Bf16Lines>(w, rows, width, x, y, epilogue, tile);
}

void BackwardFloat(const SourceView& w, Range sources, int width, const float* x, const float* dz, float* dx,
                   const Gate& gate, bool add, float* dw, Tile tile) {
  BackwardOf<FloatLines>(w, sources, width, x, dz, dx, gate, add, dw, tile);
}

void BackwardBf16(const SourceView& w, Range sources, int width, const Bf16Pair* x, const Bf16Pair* dz,
                  float* dx, const Gate& gate, bool add, float* dw, Tile tile, bool dot) {
  if (dot) return BackwardOf<Bf16DotLines>(w, sources, width, x, dz, dx, gate, add, dw, tile);
  BackwardOf<Bf16Lines>(w, sources, width, x, dz, dx, gate, add, dw, tile);
}

}  // namespace tulle::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tulle::kernels {

HWY_EXPORT(ForwardFloat);
HWY_EXPORT(ForwardBf16);
HWY_EXPORT(ForwardBf16Weights);
HWY_EXPORT(ForwardNarrow);
HWY_EXPORT(ForwardNarrowBf16Weights);
HWY_EXPORT(BackwardFloat);
HWY_EXPORT(BackwardBf16);

namespace {

// Whether the processor has vdpbf16ps.
bool has_bf16_dot() noexcept {
#if HWY_ARCH_X86
  static const bool found = __builtin_cpu_supports("avx512bf16") != 0;
  return found;
#else
  return false;
#endif
}

}  // namespace

void spmm_forward(const CsrView& w, Range rows, int width, const float* x, float* y, const Epilogue& epilogue,
                  Tile tile) noexcept {
  HWY_DYNAMIC_DISPATCH(ForwardFloat)(w, rows, width, x, y, epilogue, tile);
}

void spmm_forward(const Bf16CsrView& w, Range rows, int width, const float* x, float* y,
                  const Epilogue& epilogue) noexcept {
  HWY_DYNAMIC_DISPATCH(ForwardBf16Weights)(w, rows, width, x, y, epilogue);
}

void spmm_forward(const CsrView& w, Range rows, int width, const std::uint16_t* x, float* y,
                  const Epilogue& epilogue, Tile tile) noexcept {
  HWY_DYNAMIC_DISPATCH(ForwardNarrow)(w, rows, width, x, y, epilogue, tile);
}

void spmm_forward(const Bf16CsrView& w, Range rows, int width, const std::uint16_t* x, float* y,
                  const Epilogue& epilogue) noexcept {
  HWY_DYNAMIC_DISPATCH(ForwardNarrowBf16Weights)(w, rows, width, x, y, epilogue);
}

void spmm_forward(const CsrView& w, Range rows, int width, const Bf16Pair* x, float* y,
                  const Epilogue& epilogue, Tile tile) noexcept {
  HWY_DYNAMIC_DISPATCH(ForwardBf16)(w, rows, width, x, y, epilogue, tile);
}

void spmm_backward(const SourceView& w, Range sources, int width, const float* x, const float* dz, float* dx,
                   const Gate& gate, bool add, float* dw, Tile tile) noexcept {
  HWY_DYNAMIC_DISPATCH(BackwardFloat)(w, sources, width, x, dz, dx, gate, add, dw, tile);
}

void spmm_backward(const SourceView& w, Range sources, int width, const Bf16Pair* x, const Bf16Pair* dz,
                   float* dx, const Gate& gate, bool add, float* dw, Tile tile) noexcept {
  HWY_DYNAMIC_DISPATCH(BackwardBf16)(w, sources, width, x, dz, dx, gate, add, dw, tile, has_bf16_dot());
}

}  // namespace tulle::kernels
#endif
