#include "tulle/kernels/spmv.h"

#include <algorithm>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tulle/kernels/spmv.cpp"
#include <hwy/foreach_target.h>  // compiles this file once per target

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace tulle::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Quad = hn::CappedTag<float, 4>;  // one lane where there are no vectors
using QuadVector = hn::Vec<Quad>;
constexpr int kQuad = static_cast<int>(hn::MaxLanes(Quad()));
constexpr int kQuads = kSliceRows / kQuad;

// The values of x at the next kQuad columns.
HWY_INLINE QuadVector Collect(const float* HWY_RESTRICT x, const std::uint16_t* HWY_RESTRICT columns) {
#if HWY_TARGET == HWY_SCALAR
  return hn::Set(Quad(), x[columns[0]]);
#else
  std::uint64_t four;
  std::memcpy(&four, columns, sizeof four);
#if HWY_TARGET == HWY_EMU128
  const float values[] = {x[four & 0xffff], x[four >> 16 & 0xffff], x[four >> 32 & 0xffff], x[four >> 48]};
  return hn::LoadU(Quad(), values);
#else
  QuadVector values;
  values.raw =
      decltype(values.raw){x[four & 0xffff], x[four >> 16 & 0xffff], x[four >> 32 & 0xffff], x[four >> 48]};
  return values;
#endif
#endif
}

HWY_INLINE float MultiplyAdd(float weight, float x, float sum) {
  const hn::CappedTag<float, 1> one;
  return hn::GetLane(hn::MulAdd(hn::Set(one, weight), hn::Set(one, x), hn::Set(one, sum)));
}

HWY_INLINE float Finish(float sum, std::int64_t row, const Epilogue& e) {
  const float z = sum + (e.bias == nullptr ? 0.0f : e.bias[row]);
  const bool positive = e.zero_is_negative ? z > 0.0f : z >= 0.0f;
  const float h = positive ? z : e.slope * z;
  return h > e.cap ? e.cap : h;
}

void FinishRows(Range rows, float* y, const Epilogue& epilogue) {
  for (std::int64_t row = rows.begin; row < rows.end; ++row) y[row] = Finish(y[row], row, epilogue);
}

void ForwardOne(const SlicedTile& w, const float* HWY_RESTRICT x, float* HWY_RESTRICT y,
                const Epilogue& epilogue, Tile tile) {
  const Quad d;
  const std::uint16_t* HWY_RESTRICT columns = w.columns;
  const float* HWY_RESTRICT values = w.values;
  for (std::int64_t slice = 0; slice < w.slices; ++slice) {
    const std::int32_t* HWY_RESTRICT rows = w.rows + slice * kSliceRows;
    const std::int32_t* HWY_RESTRICT lengths = w.lengths + slice * kSliceRows;
    HWY_ALIGN float sums[kSliceRows] = {};
    if (!tile.first)
      for (int r = 0; r < kSliceRows; ++r) sums[r] = y[rows[r]];
    QuadVector quads[kQuads];
    for (int q = 0; q < kQuads; ++q) quads[q] = hn::Load(d, sums + q * kQuad);
    const std::int32_t common = *std::min_element(lengths, lengths + kSliceRows);
    for (std::int32_t k = 0; k < common; ++k, columns += kSliceRows, values += kSliceRows)
      for (int q = 0; q < kQuads; ++q)
        quads[q] = hn::MulAdd(hn::LoadU(d, values + q * kQuad), Collect(x, columns + q * kQuad), quads[q]);
    for (int q = 0; q < kQuads; ++q) hn::Store(quads[q], d, sums + q * kQuad);
    for (int r = 0; r < kSliceRows; ++r) {
      for (std::int32_t k = common; k < lengths[r]; ++k, ++columns, ++values)
        sums[r] = MultiplyAdd(*values, x[*columns], sums[r]);
    }
    // Repeated rows come first, so that the true sum stays.
    for (int r = 0; r < kSliceRows; ++r)
      y[rows[r]] = tile.last ? Finish(sums[r], rows[r], epilogue) : sums[r];
  }
}

}  // namespace tulle::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tulle::kernels {

HWY_EXPORT(ForwardOne);
HWY_EXPORT(FinishRows);

void spmv_forward(const SlicedTile& w, const float* x, float* y, const Epilogue& epilogue,
                  Tile tile) noexcept {
  HWY_DYNAMIC_DISPATCH(ForwardOne)(w, x, y, epilogue, tile);
}

void apply_epilogue_to_one(Range rows, float* y, const Epilogue& epilogue) noexcept {
  HWY_DYNAMIC_DISPATCH(FinishRows)(rows, y, epilogue);
}

}  // namespace tulle::kernels
#endif
