#include "tulle/kernels/rounding.h"

#include <algorithm>

#include "tulle/base/half.h"
#include "tulle/base/random.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tulle/kernels/rounding.cpp"
#include <hwy/foreach_target.h>  // compiles this file once per target

#include <hwy/highway.h>

#include "tulle/kernels/philox-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tulle::kernels::HWY_NAMESPACE {

// `draw`: 16 random bits in each lane.
HWY_INLINE void RoundUpOrDown(const float* HWY_RESTRICT numbers, WordVector draw,
                              std::uint16_t* HWY_RESTRICT rounded) {
  const Floats d;
  const Words u;
  const hn::Rebind<std::uint16_t, Floats> narrow;
  const Vector number = hn::LoadU(d, numbers);
  const WordVector bits = hn::BitCast(u, number), exponent = hn::Set(u, 0x7f800000);
  const WordVector up = hn::Add(bits, draw);
  const WordVector quiet =
      hn::IfThenElse(hn::RebindMask(u, hn::IsNaN(number)), hn::Or(bits, hn::Set(u, 0x400000)), bits);
  // Infinity, NaN, and what would become one of them, stay.
  const auto endless = hn::Eq(hn::And(up, exponent), exponent);
  hn::StoreU(hn::TruncateTo(narrow, hn::ShiftRight<16>(hn::IfThenElse(endless, quiet, up))), narrow, rounded);
}

// One vector of connections.
HWY_INLINE void RoundVector(const RoundingPlace& place, std::int32_t first_row,
                            const std::int32_t* HWY_RESTRICT rows, const std::int32_t* HWY_RESTRICT columns,
                            const float* HWY_RESTRICT value, const float* HWY_RESTRICT momentum,
                            std::uint16_t* HWY_RESTRICT rounded_value,
                            std::uint16_t* HWY_RESTRICT rounded_momentum) {
  const Words u;
  const hn::RebindToSigned<Floats> i;
  WordVector word[4] = {hn::Set(u, stream_word(Stream::kRounding, place.layer)), hn::Set(u, place.step),
                        hn::BitCast(u, hn::LoadU(i, columns)),
                        hn::BitCast(u, hn::Add(hn::LoadU(i, rows), hn::Set(i, first_row)))};
  Philox(place.seed, word);
  RoundUpOrDown(value, hn::And(word[0], hn::Set(u, 0xffff)), rounded_value);
  if (momentum != nullptr) RoundUpOrDown(momentum, hn::ShiftRight<16>(word[0]), rounded_momentum);
}

void Round(const RoundingPlace& place, std::int32_t first_row, const std::int32_t* rows,
           const std::int32_t* columns, std::int64_t count, const float* value, const float* momentum,
           std::uint16_t* rounded_value, std::uint16_t* rounded_momentum) {
  std::int64_t k = 0;
  for (; k + kLanes <= count; k += kLanes)
    RoundVector(place, first_row, rows + k, columns + k, value + k,
                momentum == nullptr ? nullptr : momentum + k, rounded_value + k,
                momentum == nullptr ? nullptr : rounded_momentum + k);
  const std::int64_t rest = count - k;
  if (rest == 0) return;
  std::int32_t row[kLanes] = {}, column[kLanes] = {};
  float v[kLanes] = {}, m[kLanes] = {};
  std::uint16_t rounded_v[kLanes], rounded_m[kLanes];
  std::copy_n(rows + k, rest, row);
  std::copy_n(columns + k, rest, column);
  std::copy_n(value + k, rest, v);
  if (momentum != nullptr) std::copy_n(momentum + k, rest, m);
  RoundVector(place, first_row, row, column, v, momentum == nullptr ? nullptr : m, rounded_v, rounded_m);
  std::copy_n(rounded_v, rest, rounded_value + k);
  if (momentum != nullptr) std::copy_n(rounded_m, rest, rounded_momentum + k);
}

void Widen(const std::uint16_t* HWY_RESTRICT bits, std::int64_t count, float* HWY_RESTRICT numbers) {
  const Floats d;
  std::int64_t k = 0;
  for (; k + kLanes <= count; k += kLanes) hn::StoreU(LoadWidened(d, bits + k), d, numbers + k);
  for (; k < count; ++k) numbers[k] = bf16_to_float(bits[k]);
}

}  // namespace tulle::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tulle::kernels {

HWY_EXPORT(Round);
HWY_EXPORT(Widen);

void round_stochastically(const RoundingPlace& place, std::int32_t first_row, const std::int32_t* rows,
                          const std::int32_t* columns, std::int64_t count, const float* value,
                          const float* momentum, std::uint16_t* rounded_value,
                          std::uint16_t* rounded_momentum) noexcept {
  HWY_DYNAMIC_DISPATCH(Round)
  (place, first_row, rows, columns, count, value, momentum, rounded_value, rounded_momentum);
}

void widen(const std::uint16_t* bits, std::int64_t count, float* numbers) noexcept {
  HWY_DYNAMIC_DISPATCH(Widen)(bits, count, numbers);
}

}  // namespace tulle::kernels
#endif
