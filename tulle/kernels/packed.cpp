#include "tulle/kernels/packed.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tulle/kernels/packed.cpp"
#include <hwy/foreach_target.h>  // compiles this file once per target

#include <hwy/highway.h>

#include "tulle/kernels/neuron-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tulle::kernels::HWY_NAMESPACE {

// A run of rows: `kRows` rows of `length` connections advance together, so that there are enough independent
// sums to hide the latency of the multiply-adds.
template <int kWidth, class Lines, int kRows>
HWY_INLINE void SumRows(std::int64_t length, const std::int32_t* HWY_RESTRICT rows,
                        const std::uint16_t* HWY_RESTRICT columns, const float* HWY_RESTRICT values,
                        const typename Lines::Element* HWY_RESTRICT x, float* HWY_RESTRICT y,
                        const Epilogue& epilogue, Tile tile) {
  constexpr int kVectors = kWidth / kLanes;
  const Floats d;
  Vector sums[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v)
      sums[r][v] = tile.first ? hn::Zero(d) : hn::Load(d, y + std::int64_t{rows[r]} * kWidth + v * kLanes);
  for (std::int64_t k = 0; k < length; ++k)
    for (int r = 0; r < kRows; ++r) {
      const Vector weight = hn::Set(d, values[r * length + k]);
      Lines::template ForVectors<kWidth>(
          x + std::int64_t{columns[r * length + k]} * Lines::Stride(kWidth),
          [&](int v, Vector source) { sums[r][v] = hn::MulAdd(weight, source, sums[r][v]); });
    }
  for (int r = 0; r < kRows; ++r) {
    float* HWY_RESTRICT out = y + std::int64_t{rows[r]} * kWidth;
    if (tile.last)
      StoreNeuron<kWidth>(sums[r], rows[r], epilogue, out);
    else
      for (int v = 0; v < kVectors; ++v) hn::Store(sums[r][v], d, out + v * kLanes);
  }
}

template <int kWidth, class Lines>
void ForwardPacked(const PackedTile& w, const typename Lines::Element* HWY_RESTRICT x, float* HWY_RESTRICT y,
                   const Epilogue& epilogue, Tile tile) {
  constexpr int kSums = 8;  // as many vectors of sums as there are registers for
  constexpr int kRows = kWidth / kLanes >= kSums ? 1 : kSums / (kWidth / kLanes);
  const std::int32_t* rows = w.rows;
  const std::uint16_t* columns = w.columns;
  const float* values = w.values;
  for (const PackedRun& run : w.runs) {
    std::int32_t left = run.rows;
    const auto advance = [&](std::int32_t count) {
      left -= count;
      rows += count;
      columns += std::int64_t{count} * run.length;
      values += std::int64_t{count} * run.length;
    };
    for (; left >= kRows; advance(kRows))
      SumRows<kWidth, Lines, kRows>(run.length, rows, columns, values, x, y, epilogue, tile);
    for (; left > 0; advance(1))
      SumRows<kWidth, Lines, 1>(run.length, rows, columns, values, x, y, epilogue, tile);
  }
}

template <class Lines>
void ForwardPackedWidth(const PackedTile& w, int width, const typename Lines::Element* x, float* y,
                        const Epilogue& epilogue, Tile tile) {
  WithWidth<Lines::kLeastWidth>(width,
                                [&](auto kWidth) { ForwardPacked<kWidth, Lines>(w, x, y, epilogue, tile); });
}

void ForwardPackedFloat(const PackedTile& w, int width, const float* x, float* y, const Epilogue& epilogue,
                        Tile tile) {
  ForwardPackedWidth<FloatLines>(w, width, x, y, epilogue, tile);
}

void ForwardPackedBf16(const PackedTile& w, int width, const Bf16Pair* x, float* y, const Epilogue& epilogue,
                       Tile tile) {
  ForwardPackedWidth<Bf16Lines>(w, width, x, y, epilogue, tile);
}

}  // namespace tulle::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tulle::kernels {

HWY_EXPORT(ForwardPackedFloat);
HWY_EXPORT(ForwardPackedBf16);

void packed_forward(const PackedTile& w, int width, const float* x, float* y, const Epilogue& epilogue,
                    Tile tile) noexcept {
  HWY_DYNAMIC_DISPATCH(ForwardPackedFloat)(w, width, x, y, epilogue, tile);
}

void packed_forward(const PackedTile& w, int width, const Bf16Pair* x, float* y, const Epilogue& epilogue,
                    Tile tile) noexcept {
  HWY_DYNAMIC_DISPATCH(ForwardPackedBf16)(w, width, x, y, epilogue, tile);
}

}  // namespace tulle::kernels
#endif
