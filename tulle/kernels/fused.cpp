#include "tulle/kernels/fused.h"

#include <algorithm>
#include <array>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tulle/kernels/fused.cpp"
#include <hwy/foreach_target.h>  // compiles this file once per target

#include <hwy/highway.h>

#include "tulle/kernels/neuron-inl.h"
#include "tulle/kernels/pending_sums-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tulle::kernels::HWY_NAMESPACE {

template <int kWidth, class Lines, bool kWithDx>
void BackwardLinks(const Links& links, const float* HWY_RESTRICT errors, const Gate& gate,
                   const typename Lines::Element* HWY_RESTRICT x, float* HWY_RESTRICT dx, bool add,
                   float* HWY_RESTRICT dw) {
  using S = Samples<kWidth>;
  const typename S::Tag d;
  PendingSums pending(add, dw);
  for (std::int64_t k = 0; k < links.count;) {
    const std::int64_t count = std::min(links.count - k, pending.room());
    float* HWY_RESTRICT products = pending.next();
    for (std::int64_t j = 0; j < count; ++j) {
      const std::int64_t ahead = std::int64_t{links.columns[k + j + Links::kAhead]} * kWidth;
      PrefetchLines<Lines, kWidth>(x + ahead);
      if (kWithDx) PrefetchLines<FloatLines, kWidth>(dx + ahead);
      const std::int64_t source = std::int64_t{links.columns[k + j]} * kWidth;
      FloatLines::Own<kWidth> error;
      const std::int64_t row = links.rows[k + j];
      FloatLines::ForVectors<kWidth>(errors + row * kWidth, [&](int v, typename S::Vector value) {
        error.values[v] = Gated<kWidth>(value, row, v, gate);
      });
      if (kWithDx) {
        const auto weight = hn::Set(d, links.weights[k + j]);
        for (int v = 0; v < S::kVectors; ++v) {
          float* const sum = dx + source + v * S::kLanes;
          hn::Store(hn::MulAdd(weight, error.values[v], hn::Load(d, sum)), d, sum);
        }
      }
      // Lanes that a narrow panel lacks stay 0.
      typename S::Vector product[S::kVectorsPerLine];
      Lines::template Multiply<kWidth>(error, x + source, product, [](int, typename S::Vector) {});
      for (int s = 0; s < S::kVectorsPerLine; ++s)
        hn::Store(product[s], d, products + j * kLine + s * S::kLanes);
    }
    pending.added(count);
    k += count;
  }
  pending.flush();
}

#if HWY_TARGET > HWY_AVX3
// Of each mask of 8 lanes: which they are, in order.
constexpr auto kLanesOf = [] {
  std::array<std::array<std::uint8_t, 8>, 256> all{};
  for (std::size_t mask = 0; mask < all.size(); ++mask)
    for (std::size_t lane = 0, count = 0; lane < 8; ++lane)
      if ((mask >> lane & 1) != 0) all[mask][count++] = static_cast<std::uint8_t>(lane);
  return all;
}();
#endif

std::int64_t Select(const std::int32_t* HWY_RESTRICT columns, const std::int32_t* HWY_RESTRICT rows,
                    std::int64_t count, std::int32_t first, std::int32_t sources,
                    std::int32_t* HWY_RESTRICT own_columns, std::int32_t* HWY_RESTRICT own_rows,
                    std::int32_t* HWY_RESTRICT places) {
  const hn::CappedTag<std::int32_t, 8> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto below = hn::Set(d, first - 1), end = hn::Set(d, first + sources);
  const auto step = hn::Set(d, static_cast<std::int32_t>(lanes));
  auto place = hn::Iota(d, 0);
  std::int64_t own = 0, k = 0;
  for (; k + lanes <= count; k += lanes, place = hn::Add(place, step)) {
    const auto column = hn::LoadU(d, columns + k);
    const auto mine = hn::And(hn::Gt(column, below), hn::Lt(column, end));
#if HWY_TARGET > HWY_AVX3
    // Without an instruction for it Highway 1.0.3 copies a table of a kilobyte at each Compress().
    const std::uint8_t* const order = kLanesOf[MaskToBits(d, mine)].data();
    const hn::Rebind<std::uint8_t, decltype(d)> bytes;
    const auto lanes_of_mine = hn::IndicesFromVec(d, hn::PromoteTo(d, hn::LoadU(bytes, order)));
    const auto compress = [&](auto all) HWY_ATTR { return hn::TableLookupLanes(all, lanes_of_mine); };
#else
    const auto compress = [&](auto all) HWY_ATTR { return hn::Compress(all, mine); };
#endif
    // Stored whole: a store of some lanes is microcode on several processors.
    hn::StoreU(compress(column), d, own_columns + own);
    hn::StoreU(compress(hn::LoadU(d, rows + k)), d, own_rows + own);
    hn::StoreU(compress(place), d, places + own);
    own += static_cast<std::int64_t>(hn::CountTrue(d, mine));
  }
  for (; k < count; ++k) {
    own_columns[own] = columns[k];
    own_rows[own] = rows[k];
    places[own] = static_cast<std::int32_t>(k);
    own += columns[k] >= first && columns[k] < first + sources ? 1 : 0;
  }
  return own;
}

template <class Lines>
void BackwardOf(const Links& links, int width, const float* errors, const Gate& gate,
                const typename Lines::Element* x, float* dx, bool add, float* dw) {
  WithWidth<2>(width, [&](auto kWidth) {
    if (dx == nullptr)
      BackwardLinks<kWidth, Lines, false>(links, errors, gate, x, dx, add, dw);
    else
      BackwardLinks<kWidth, Lines, true>(links, errors, gate, x, dx, add, dw);
  });
}

void Fused(const Links& links, int width, const float* errors, const Gate& gate, const float* x, float* dx,
           bool add, float* dw) {
  BackwardOf<FloatLines>(links, width, errors, gate, x, dx, add, dw);
}

void FusedNarrow(const Links& links, int width, const float* errors, const Gate& gate, const std::uint16_t* x,
                 float* dx, bool add, float* dw) {
  BackwardOf<NarrowLines>(links, width, errors, gate, x, dx, add, dw);
}

}  // namespace tulle::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tulle::kernels {

HWY_EXPORT(Fused);
HWY_EXPORT(FusedNarrow);
HWY_EXPORT(Select);

std::int64_t select_sources(const std::int32_t* columns, const std::int32_t* rows, std::int64_t count,
                            std::int32_t first, std::int32_t sources, std::int32_t* own_columns,
                            std::int32_t* own_rows, std::int32_t* places) noexcept {
  return HWY_DYNAMIC_DISPATCH(Select)(columns, rows, count, first, sources, own_columns, own_rows, places);
}

void fused_backward(const Links& links, int width, const float* errors, const Gate& gate, const float* x,
                    float* dx, bool add, float* dw) noexcept {
  HWY_DYNAMIC_DISPATCH(Fused)(links, width, errors, gate, x, dx, add, dw);
}

void fused_backward(const Links& links, int width, const float* errors, const Gate& gate,
                    const std::uint16_t* x, float* dx, bool add, float* dw) noexcept {
  HWY_DYNAMIC_DISPATCH(FusedNarrow)(links, width, errors, gate, x, dx, add, dw);
}

}  // namespace tulle::kernels
#endif
