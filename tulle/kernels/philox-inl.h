// Random numbers by place, one for each lane: what base/random.h gives one at a time.
#if defined(TULLE_KERNELS_PHILOX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TULLE_KERNELS_PHILOX_INL_H_
#undef TULLE_KERNELS_PHILOX_INL_H_
#else
#define TULLE_KERNELS_PHILOX_INL_H_
#endif

#include "tulle/kernels/lines-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tulle::kernels::HWY_NAMESPACE {

using Words = Bits32;
using WordVector = BitVector;

// The product of every even lane and `factor`: its halves in the even lanes of `high` and `low`. What odd
// lanes hold is left there.
HWY_INLINE void MultiplyEven(WordVector a, std::uint32_t factor, WordVector& high, WordVector& low) {
  const Words d;
#if HWY_TARGET == HWY_SCALAR
  const std::uint64_t product = static_cast<std::uint64_t>(hn::GetLane(a)) * factor;
  high = hn::Set(d, static_cast<std::uint32_t>(product >> 32));
  low = hn::Set(d, static_cast<std::uint32_t>(product));
#else
  const auto product = hn::MulEven(a, hn::Set(d, factor));
  high = hn::DupOdd(hn::BitCast(d, product));  // a shift would wait for the multiplier's port
  low = hn::BitCast(d, product);
#endif
}

// Philox4x32-10 (Salmon et al. 2011) on one counter per even lane.
HWY_INLINE void PhiloxEven(std::uint64_t seed, WordVector word[4]) {
  const Words d;
  auto key0 = static_cast<std::uint32_t>(seed), key1 = static_cast<std::uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    WordVector high0, low0, high1, low1;
    MultiplyEven(word[0], 0xD2511F53u, high0, low0);
    MultiplyEven(word[2], 0xCD9E8D57u, high1, low1);
    word[0] = hn::Xor(hn::Xor(high1, word[1]), hn::Set(d, key0));
    word[1] = low1;
    word[2] = hn::Xor(hn::Xor(high0, word[3]), hn::Set(d, key1));
    word[3] = low0;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
}

// One counter per lane. Odd lanes are moved aside once, not in every round: vectors multiply 32 x 32 bits in
// even lanes alone.
HWY_INLINE void Philox(std::uint64_t seed, WordVector word[4]) {
#if HWY_TARGET == HWY_SCALAR
  PhiloxEven(seed, word);
#else
  const Words d;
  const hn::Repartition<std::uint64_t, Words> wide;
  WordVector odd[4];
  for (int i = 0; i < 4; ++i) odd[i] = hn::BitCast(d, hn::ShiftRight<32>(hn::BitCast(wide, word[i])));
  PhiloxEven(seed, word);
  PhiloxEven(seed, odd);
  for (int i = 0; i < 4; ++i)
    word[i] = hn::OddEven(hn::BitCast(d, hn::ShiftLeft<32>(hn::BitCast(wide, odd[i]))), word[i]);
#endif
}

}  // namespace tulle::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
