// The epilogue and the gate on the vectors of one line, shared by the kernels that fuse them.
#if defined(TULLE_KERNELS_NEURON_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TULLE_KERNELS_NEURON_INL_H_
#undef TULLE_KERNELS_NEURON_INL_H_
#else
#define TULLE_KERNELS_NEURON_INL_H_
#endif

#include "tulle/kernels/lines-inl.h"
#include "tulle/kernels/neuron.h"

HWY_BEFORE_NAMESPACE();
namespace tulle::kernels::HWY_NAMESPACE {

// sums: the `kWidth` values of row `row` without bias, in registers; stores a at `out`, or where it is
// rounded.
template <int kWidth>
HWY_INLINE void StoreNeuron(const typename Samples<kWidth>::Vector* sums, std::int64_t row, const Epilogue& e,
                            float* HWY_RESTRICT out) {
  using S = Samples<kWidth>;
  const typename S::Tag d;
  const auto zero = hn::Zero(d);
  const auto bias = hn::Set(d, e.bias == nullptr ? 0.0f : e.bias[row]);
  const auto slope = hn::Set(d, e.slope);
  const auto scale = hn::Set(d, e.keep_scale);
  const auto cap = hn::Set(d, e.cap);
  // The same for all rows, hence foreseen; short rows spend as long here as on their connections.
  const bool bent = e.slope != 1.0f || e.positive_bits != nullptr;
  const bool capped = e.cap < std::numeric_limits<float>::infinity();
  const std::int64_t first_line = row * S::kLines;
  for (int line = 0; line < S::kLines; ++line) {
    std::uint32_t positive_word = 0;
    const std::uint32_t keep_word = e.keep_bits == nullptr ? 0 : e.keep_bits[first_line + line];
    for (int s = 0; s < S::kVectorsPerLine; ++s) {
      const int v = line * S::kVectorsPerLine + s;
      auto a = hn::Add(sums[v], bias);
      if (bent) {
        const auto positive = e.zero_is_negative ? hn::Gt(a, zero) : hn::Ge(a, zero);
        a = hn::IfThenElse(positive, a, hn::Mul(slope, a));
        if (e.positive_bits != nullptr) positive_word |= MaskToBits(d, positive) << (s * S::kLanes);
      }
      if (capped) a = hn::IfThenElse(hn::Gt(a, cap), cap, a);  // not Min: NaN stays NaN
      if (e.keep_bits != nullptr)
        a = hn::IfThenElseZero(MaskFromBits(d, keep_word >> (s * S::kLanes)), hn::Mul(a, scale));
      if (e.rounded != nullptr)
        StoreRounded(d, a, e.rounded + row * kWidth + v * S::kLanes);
      else
        hn::Store(a, d, out + v * S::kLanes);
    }
    if (e.positive_bits != nullptr)
      e.positive_bits[first_line + line] = static_cast<std::uint16_t>(positive_word);
  }
}

// Vector v of dL/dz of row `row` from that of dL/da. Dropout comes before the slope, as in the chain rule and
// where z is stored, so that both ways give the same bits.
template <int kWidth>
HWY_INLINE typename Samples<kWidth>::Vector Gated(typename Samples<kWidth>::Vector grad, std::int64_t row,
                                                  int v, const Gate& g) {
  using S = Samples<kWidth>;
  const typename S::Tag d;
  const std::int64_t line = row * S::kLines + v / S::kVectorsPerLine;
  const int shift = v % S::kVectorsPerLine * S::kLanes;
  if (g.keep_bits != nullptr)
    grad = hn::IfThenElseZero(MaskFromBits(d, static_cast<std::uint32_t>(g.keep_bits[line]) >> shift),
                              hn::Mul(grad, hn::Set(d, g.keep_scale)));
  if (g.positive_bits != nullptr)
    grad = hn::IfThenElse(MaskFromBits(d, static_cast<std::uint32_t>(g.positive_bits[line]) >> shift), grad,
                          hn::Mul(hn::Set(d, g.slope), grad));
  return grad;
}

// grads: dL/da of row `row`, in registers; stores dL/dz at `out`.
template <int kWidth>
HWY_INLINE void StoreGated(const typename Samples<kWidth>::Vector* grads, std::int64_t row, const Gate& g,
                           float* HWY_RESTRICT out) {
  using S = Samples<kWidth>;
  for (int v = 0; v < S::kVectors; ++v)
    hn::Store(Gated<kWidth>(grads[v], row, v, g), typename S::Tag(), out + v * S::kLanes);
}

}  // namespace tulle::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
