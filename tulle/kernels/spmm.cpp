#include "tulle/kernels/spmm.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tulle/kernels/spmm.cpp"
#include <hwy/foreach_target.h>  // compiles this file once per target

#include <hwy/highway.h>

#include "tulle/kernels/neuron-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tulle::kernels::HWY_NAMESPACE {

template <int kWidth>
void ForwardRows(const CsrView& w, Range rows, const float* HWY_RESTRICT x, float* HWY_RESTRICT y,
                 const Epilogue& epilogue) {
  constexpr int kVectors = kWidth / kLanes;
  const Floats d;
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    Vector sums[kVectors];
    for (int v = 0; v < kVectors; ++v) sums[v] = hn::Zero(d);
    for (std::int64_t k = w.row_ptr[row]; k < w.row_ptr[row + 1]; ++k) {
      const float* HWY_RESTRICT source = x + static_cast<std::int64_t>(w.columns[k]) * kWidth;
      const Vector weight = hn::Set(d, w.values[k]);
      for (int v = 0; v < kVectors; ++v)
        sums[v] = hn::MulAdd(weight, hn::Load(d, source + v * kLanes), sums[v]);
    }
    StoreNeuron<kWidth>(sums, row, epilogue, y + row * kWidth);
  }
}

template <int kWidth, bool kWithDx>
void BackwardSources(const SourceView& w, Range sources, const float* HWY_RESTRICT x,
                     const float* HWY_RESTRICT dz, float* HWY_RESTRICT dx, const Gate& gate, bool add,
                     float* HWY_RESTRICT dw) {
  constexpr int kVectors = kWidth / kLanes;
  const Floats d;
  HWY_ALIGN float products[kLine * kLine];
  HWY_ALIGN float sums[kLine];
  for (int i = 0; i < kLine * kLine; ++i)
    products[i] = 0.0f;  // lines a short block does not use are summed too
  for (std::int64_t source = sources.begin; source < sources.end; ++source) {
    Vector own[kVectors], grad[kVectors];
    for (int v = 0; v < kVectors; ++v) own[v] = hn::Load(d, x + source * kWidth + v * kLanes);
    for (int v = 0; v < kVectors; ++v) grad[v] = hn::Zero(d);
    const std::int64_t end = w.source_ptr[source + 1];
    for (std::int64_t block = w.source_ptr[source]; block < end; block += kLine) {
      // 16 connections give 16 lines of products, which are summed together.
      const auto count = static_cast<int>(std::min<std::int64_t>(kLine, end - block));
      for (int j = 0; j < count; ++j) {
        const float* HWY_RESTRICT target = dz + static_cast<std::int64_t>(w.targets[block + j]) * kWidth;
        const Vector weight = hn::Set(d, kWithDx ? w.values[w.positions[block + j]] : 0.0f);
        Vector product[kVectorsPerLine];
        for (int v = 0; v < kVectors; ++v) {
          const Vector error = Once(hn::Load(d, target + v * kLanes));
          if (kWithDx) grad[v] = hn::MulAdd(weight, error, grad[v]);
          const int s = v % kVectorsPerLine;
          product[s] = v < kVectorsPerLine ? hn::Mul(own[v], error) : hn::MulAdd(own[v], error, product[s]);
        }
        for (int s = 0; s < kVectorsPerLine; ++s) hn::Store(product[s], d, products + j * kLine + s * kLanes);
      }
      SumLines(products, sums);
      for (int j = 0; j < count; ++j) {
        float& out = dw[w.positions[block + j]];
        out = add ? out + sums[j] : sums[j];
      }
    }
    if (kWithDx) StoreGated<kWidth>(grad, source, gate, dx + source * kWidth);
  }
}

void Forward(const CsrView& w, Range rows, int width, const float* x, float* y, const Epilogue& epilogue) {
  switch (width) {
    case 16:
      return ForwardRows<16>(w, rows, x, y, epilogue);
    case 32:
      return ForwardRows<32>(w, rows, x, y, epilogue);
    case 64:
      return ForwardRows<64>(w, rows, x, y, epilogue);
    default:
      return ForwardRows<128>(w, rows, x, y, epilogue);
  }
}

template <bool kWithDx>
void BackwardWidth(const SourceView& w, Range sources, int width, const float* x, const float* dz, float* dx,
                   const Gate& gate, bool add, float* dw) {
  switch (width) {
    case 16:
      return BackwardSources<16, kWithDx>(w, sources, x, dz, dx, gate, add, dw);
    case 32:
      return BackwardSources<32, kWithDx>(w, sources, x, dz, dx, gate, add, dw);
    case 64:
      return BackwardSources<64, kWithDx>(w, sources, x, dz, dx, gate, add, dw);
    default:
      return BackwardSources<128, kWithDx>(w, sources, x, dz, dx, gate, add, dw);
  }
}

void Backward(const SourceView& w, Range sources, int width, const float* x, const float* dz, float* dx,
              const Gate& gate, bool add, float* dw) {
  if (dx == nullptr) return BackwardWidth<false>(w, sources, width, x, dz, dx, gate, add, dw);
  return BackwardWidth<true>(w, sources, width, x, dz, dx, gate, add, dw);
}

}  // namespace tulle::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tulle::kernels {

HWY_EXPORT(Forward);
HWY_EXPORT(Backward);

void spmm_forward(const CsrView& w, Range rows, int width, const float* x, float* y,
                  const Epilogue& epilogue) noexcept {
  HWY_DYNAMIC_DISPATCH(Forward)(w, rows, width, x, y, epilogue);
}

void spmm_backward(const SourceView& w, Range sources, int width, const float* x, const float* dz, float* dx,
                   const Gate& gate, bool add, float* dw) noexcept {
  HWY_DYNAMIC_DISPATCH(Backward)(w, sources, width, x, dz, dx, gate, add, dw);
}

}  // namespace tulle::kernels
#endif
