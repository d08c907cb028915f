// Vectors of one line (16 samples) for the instruction set being compiled; included by kernel files after
// hwy/foreach_target.h, once per target.
#if defined(TULLE_KERNELS_LINES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TULLE_KERNELS_LINES_INL_H_
#undef TULLE_KERNELS_LINES_INL_H_
#else
#define TULLE_KERNELS_LINES_INL_H_
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <cstdint>
#include <type_traits>

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

using Bits32 = hn::RebindToUnsigned<Floats>;
using BitVector = hn::Vec<Bits32>;

// The vectors of one feature in a panel of kWidth samples: of a panel narrower than a line no longer than it.
template <int kWidth>
struct Samples {
  static constexpr int kOfLine = kWidth < kLine ? kWidth : kLine;
  using Tag = hn::CappedTag<float, kOfLine>;
  using Vector = hn::Vec<Tag>;
  static constexpr int kLanes = static_cast<int>(hn::MaxLanes(Tag()));
  static constexpr int kVectors = kWidth / kLanes;
  static constexpr int kVectorsPerLine = kOfLine / kLanes;
  static constexpr int kLines = kWidth / kOfLine;
};

// body(width as a constant) for a panel of 2, 4, 8, 16, 32, 64 or 128 samples, none of which is below
// `kLeast`.
template <int kLeast = 16, class Body>
HWY_INLINE void WithWidth(int width, const Body& body) {
  switch (width) {
    case 2:
      if constexpr (kLeast <= 2) return body(std::integral_constant<int, 2>());
      [[fallthrough]];
    case 4:
      if constexpr (kLeast <= 4) return body(std::integral_constant<int, 4>());
      [[fallthrough]];
    case 8:
      if constexpr (kLeast <= 8) return body(std::integral_constant<int, 8>());
      [[fallthrough]];
    case 16:
      if constexpr (kLeast <= 16) return body(std::integral_constant<int, 16>());
      [[fallthrough]];
    case 32:
      return body(std::integral_constant<int, 32>());
    case 64:
      return body(std::integral_constant<int, 64>());
    default:
      return body(std::integral_constant<int, 128>());
  }
}

// The same vector, loaded once: without this the compiler reads it from memory anew for each use, and a line
// that is still on its way from L2 then takes twice as long (a third of the backward pass on a Xeon).
template <class V>
HWY_INLINE V Once(V v) {
#if HWY_ARCH_X86 && HWY_TARGET != HWY_EMU128
  asm("" : "+v"(v.raw));
#endif
  return v;
}

// Products of a line that stays in registers with another, for Lines::Multiply.
template <class Lines, int kWidth, class Own, class Body>
HWY_INLINE void MultiplyLines(const Own& own, const typename Lines::Element* HWY_RESTRICT line,
                              typename Samples<kWidth>::Vector* products, const Body& body) {
  using S = Samples<kWidth>;
  for (int s = 0; s < S::kVectorsPerLine; ++s) products[s] = hn::Zero(typename S::Tag());
  Lines::template ForVectors<kWidth>(line, [&](int v, typename S::Vector value) {
    const auto once = Once(value);
    body(v, once);
    auto& product = products[v % S::kVectorsPerLine];
    product =
        v < S::kVectorsPerLine ? hn::Mul(own.values[v], once) : hn::MulAdd(own.values[v], once, product);
  });
}

// v rounded to the nearest bfloat16, ties to even, in the upper half of each lane; the lower half is rest.
template <class D>
HWY_INLINE hn::Vec<hn::RebindToUnsigned<D>> Rounded([[maybe_unused]] D d, hn::Vec<D> v) {
  const hn::RebindToUnsigned<D> u;
  const auto bits = hn::BitCast(u, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(u, 1));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(u, 0x7fff)));
  // Rounding could carry a NaN over into infinity: it keeps its sign and becomes quiet.
  const auto quiet = hn::Or(bits, hn::Set(u, 0x400000));
  return hn::IfThenElse(hn::RebindMask(u, hn::IsNaN(v)), quiet, rounded);
}

// The same as bfloat16, and back to floats, which is exact.
template <class D>
HWY_INLINE void StoreRounded(D d, hn::Vec<D> v, std::uint16_t* HWY_RESTRICT out) {
  const hn::Rebind<std::uint16_t, D> narrow;
  hn::StoreU(hn::TruncateTo(narrow, hn::ShiftRight<16>(Rounded(d, v))), narrow, out);
}
template <class D>
HWY_INLINE hn::Vec<D> LoadWidened(D d, const std::uint16_t* HWY_RESTRICT in) {
  const hn::Rebind<std::uint16_t, D> narrow;
  const hn::RebindToUnsigned<D> u;
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(u, hn::LoadU(narrow, in))));
}

// How a kernel reads lines of activations, `kWidth` samples of one feature: as floats, as bfloat16, or as
// pairs of bfloat16 (kernels/narrow.h).
struct FloatLines {
  using Element = float;
  static constexpr int kLeastWidth = 16, kLeastForward = 2;
  static constexpr int Stride(int width) { return width; }  // elements of one feature
  template <int kWidth>
  struct Own {  // a line that stays in registers
    typename Samples<kWidth>::Vector values[Samples<kWidth>::kVectors];
  };

  // body(v, vector v of the line) for all vectors of a line.
  template <int kWidth, class Body>
  static HWY_INLINE void ForVectors(const float* HWY_RESTRICT line, const Body& body) {
    using S = Samples<kWidth>;
    for (int v = 0; v < S::kVectors; ++v) body(v, hn::Load(typename S::Tag(), line + v * S::kLanes));
  }
  template <int kWidth>
  static HWY_INLINE void Keep(const float* HWY_RESTRICT line, Own<kWidth>& own) {
    ForVectors<kWidth>(line, [&](int v, auto value) { own.values[v] = value; });
  }
  // The same as ForVectors, and products[s] = the sum over the line's vectors of own * line, lane by lane.
  template <int kWidth, class Body>
  static HWY_INLINE void Multiply(const Own<kWidth>& own, const float* HWY_RESTRICT line,
                                  typename Samples<kWidth>::Vector* products, const Body& body) {
    MultiplyLines<FloatLines, kWidth>(own, line, products, body);
  }
};

// In the order of floats, in half the bytes.
struct NarrowLines {
  using Element = std::uint16_t;
  static constexpr int kLeastWidth = 16, kLeastForward = 2;
  static constexpr int Stride(int width) { return width; }
  template <int kWidth>
  using Own = FloatLines::Own<kWidth>;

  template <int kWidth, class Body>
  static HWY_INLINE void ForVectors(const std::uint16_t* HWY_RESTRICT line, const Body& body) {
    using S = Samples<kWidth>;
    for (int v = 0; v < S::kVectors; ++v) body(v, LoadWidened(typename S::Tag(), line + v * S::kLanes));
  }
  template <int kWidth, class Body>
  static HWY_INLINE void Multiply(const Own<kWidth>& own, const std::uint16_t* HWY_RESTRICT line,
                                  typename Samples<kWidth>::Vector* products, const Body& body) {
    MultiplyLines<NarrowLines, kWidth>(own, line, products, body);
  }
};

// Asks for the lines of one feature, from any of its elements on.
template <class Lines, int kWidth>
HWY_INLINE void PrefetchLines(const typename Lines::Element* feature) {
  constexpr int kElements = 64 / static_cast<int>(sizeof(typename Lines::Element));
  for (int line = 0; line < Lines::Stride(kWidth); line += kElements) hwy::Prefetch(feature + line);
}

struct Bf16Lines {
  using Element = std::uint32_t;
  static constexpr int kLeastWidth = 32, kLeastForward = 32;
  static constexpr int Stride(int width) { return width / 2; }
  template <int kWidth>
  using Own = FloatLines::Own<kWidth>;

  template <int kWidth, class Body>
  static HWY_INLINE void ForVectors(const std::uint32_t* HWY_RESTRICT line, const Body& body) {
    const Bits32 u;
    for (int i = 0; i < kWidth / kLanes / 2; ++i) Widen(hn::Load(u, line + i * kLanes), i, body);
  }
  template <int kWidth>
  static HWY_INLINE void Keep(const std::uint32_t* HWY_RESTRICT line, Own<kWidth>& own) {
    ForVectors<kWidth>(line, [&](int v, Vector value) { own.values[v] = value; });
  }
  template <int kWidth, class Body>
  static HWY_INLINE void Multiply(const Own<kWidth>& own, const std::uint32_t* HWY_RESTRICT line,
                                  Vector* products, const Body& body) {
    for (int s = 0; s < kVectorsPerLine; ++s) products[s] = hn::Zero(Floats());
    ForVectors<kWidth>(line, [&](int v, Vector value) {
      body(v, value);
      Vector& product = products[v % kVectorsPerLine];
      product = hn::MulAdd(own.values[v], value, product);
    });
  }

 protected:
  // body(v, vector v) for the two vectors whose samples vector i of pairs holds.
  template <class Body>
  static HWY_INLINE void Widen(BitVector pairs, int i, const Body& body) {
    const Floats d;
    const int low = i / kVectorsPerLine * 2 * kVectorsPerLine + i % kVectorsPerLine;
    body(low, hn::BitCast(d, hn::ShiftLeft<16>(pairs)));
    body(low + kVectorsPerLine, hn::BitCast(d, hn::And(pairs, hn::Set(Bits32(), 0xffff0000u))));
  }
};

#if HWY_TARGET <= HWY_AVX3
// Where the processor multiplies pairs of bfloat16 and adds both products up (has_bf16_dot()): what a sum
// over samples wants, at twice the rate.
struct Bf16DotLines : Bf16Lines {
  template <int kWidth>
  struct Own {
    BitVector pairs[kWidth / kLanes / 2];
  };

  template <int kWidth>
  static HWY_INLINE void Keep(const std::uint32_t* HWY_RESTRICT line, Own<kWidth>& own) {
    for (int i = 0; i < kWidth / kLanes / 2; ++i) own.pairs[i] = hn::Load(Bits32(), line + i * kLanes);
  }
  template <int kWidth, class Body>
  static HWY_INLINE void Multiply(const Own<kWidth>& own, const std::uint32_t* HWY_RESTRICT line,
                                  Vector* products, const Body& body) {
    products[0] = hn::Zero(Floats());
    for (int i = 0; i < kWidth / kLanes / 2; ++i) {
      const BitVector pairs = hn::Load(Bits32(), line + i * kLanes);
      Widen(pairs, i, body);
      // Highway 1.0 does not know the instruction.
      asm("vdpbf16ps %2, %1, %0" : "+v"(products[0].raw) : "v"(own.pairs[i].raw), "v"(pairs.raw));
    }
  }
};
#else
using Bf16DotLines = Bf16Lines;
#endif

// One level of a sum across lanes, for two vectors at once: adds lanes that are `kDistance` apart, a's sums
// into the lanes whose number has that bit clear and b's into the others. One shuffle, two blends and an
// addition.
template <int kDistance>
HWY_INLINE Vector AddAcross(Vector a, Vector b) {
  const Floats d;
#if HWY_TARGET == HWY_SCALAR
  (void)b;
  return a;
#else
  const hn::RepartitionToWide<Floats> pairs;
  if constexpr (kDistance == 1) {
    return hn::Add(hn::OddEven(b, a), hn::Shuffle2301(hn::OddEven(a, b)));
  } else if constexpr (kDistance == 2) {
    const auto a2 = hn::BitCast(pairs, a), b2 = hn::BitCast(pairs, b);
    return hn::Add(hn::BitCast(d, hn::OddEven(b2, a2)), hn::BitCast(d, hn::Shuffle01(hn::OddEven(a2, b2))));
  } else if constexpr (kDistance == 4) {
    return hn::Add(hn::OddEvenBlocks(b, a), hn::SwapAdjacentBlocks(hn::OddEvenBlocks(a, b)));
  } else {
    return hn::Add(hn::ConcatUpperLower(d, b, a), hn::ConcatLowerUpper(d, b, a));
  }
#endif
}

// Sums across all lanes of `kCount` vectors, kCount = 1, 2, 4, ... kLanes: level by level, neighbours first.
template <int kCount>
HWY_INLINE Vector SumAcross(Vector* v) {
  if constexpr (kCount == 1) {
    return v[0];
  } else {
    for (int i = 0; i < kCount / 2; ++i) v[i] = AddAcross<kLanes / kCount>(v[2 * i], v[2 * i + 1]);
    return SumAcross<kCount / 2>(v);
  }
}

// sums[j] = the sum of the 16 floats of line j, for 16 lines that lie one after another; always the same
// tree: neighbours first. 16 sums together cost 4 shuffle levels, one alone would cost as many.
HWY_INLINE void SumLines(const float* HWY_RESTRICT lines, float* HWY_RESTRICT sums) {
  const Floats d;
  for (int first = 0; first < kLine; first += kLanes) {  // as many lines as fill one vector of sums
    Vector part[kVectorsPerLine];
    for (int s = 0; s < kVectorsPerLine; ++s) {
      Vector v[kLanes];
      for (int i = 0; i < kLanes; ++i) v[i] = hn::Load(d, lines + (first + i) * kLine + s * kLanes);
      part[s] = SumAcross<kLanes>(v);
    }
    for (int count = kVectorsPerLine / 2; count >= 1; count /= 2)
      for (int s = 0; s < count; ++s) part[s] = hn::Add(part[2 * s], part[2 * s + 1]);
    hn::StoreU(part[0], d, sums + first);
  }
}

// One bit per sample: bit s of a line's 16-bit word belongs to sample s.
template <class D>
HWY_INLINE std::uint32_t MaskToBits(D d, hn::Mask<D> mask) {
#if HWY_TARGET == HWY_SCALAR
  (void)d;
  return mask.bits != 0 ? 1u : 0u;
#else
  std::uint8_t bytes[8] = {};
  hn::StoreMaskBits(d, mask, bytes);
  return static_cast<std::uint32_t>(bytes[0]) | static_cast<std::uint32_t>(bytes[1]) << 8;
#endif
}

template <class D>
HWY_INLINE hn::Mask<D> MaskFromBits(D d, std::uint32_t bits) {
#if HWY_TARGET == HWY_SCALAR
  return hn::MaskFromVec(hn::BitCast(d, hn::Set(hn::RebindToUnsigned<D>(), (bits & 1u) != 0 ? ~0u : 0u)));
#else
  const std::uint8_t bytes[8] = {static_cast<std::uint8_t>(bits), static_cast<std::uint8_t>(bits >> 8)};
  return hn::LoadMaskBits(d, bytes);
#endif
}

}  // namespace tulle::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
