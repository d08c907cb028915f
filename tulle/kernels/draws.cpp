#include "tulle/kernels/draws.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tulle/kernels/draws.cpp"
#include <hwy/foreach_target.h>  // compiles this file once per target

#include <hwy/highway.h>

#include "tulle/kernels/philox-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tulle::kernels::HWY_NAMESPACE {

// Values are taken in blocks, whose halves lie in the nearest cache; a last block is filled up with zeros.
constexpr std::int64_t kBlock = 64;

struct Halves {
  HWY_ALIGN std::uint32_t low[kBlock], high[kBlock];

  void Split(const std::uint64_t* HWY_RESTRICT values, std::int64_t count, int low_bits) {
    for (std::int64_t i = 0; i < count; ++i) {
      low[i] = static_cast<std::uint32_t>(values[i]);
      high[i] = static_cast<std::uint32_t>(values[i] >> low_bits);
    }
    for (std::int64_t i = count; i < kBlock; ++i) low[i] = high[i] = 0;
  }
};

// Philox blocks of the places in lanes `k` and on.
HWY_INLINE void DrawWords(const Random& random, std::uint32_t stream, const Halves& place, std::int64_t k,
                          WordVector word[4]) {
  const Words u;
  word[0] = hn::Set(u, stream);
  word[1] = hn::Set(u, random.event);
  word[2] = hn::Load(u, place.low + k);
  word[3] = hn::Load(u, place.high + k);
  Philox(random.seed, word);
}

void DrawUniform(const Random& random, const std::uint64_t* HWY_RESTRICT places, std::int64_t count,
                 float* HWY_RESTRICT numbers) {
  const Floats d;
  const hn::RebindToSigned<Words> i;
  const std::uint32_t stream = stream_word(random.stream, random.layer);
  const Vector unit = hn::Set(d, 0x1p-24f);
  Halves place;
  HWY_ALIGN float drawn[kBlock];
  for (std::int64_t at = 0; at < count; at += kBlock) {
    const std::int64_t here = std::min(kBlock, count - at);
    place.Split(places + at, here, 32);
    for (std::int64_t k = 0; k < here; k += kLanes) {
      WordVector word[4];
      DrawWords(random, stream, place, k, word);
      const auto top = hn::BitCast(i, hn::ShiftRight<8>(word[0]));  // 24 bits
      hn::Store(hn::Mul(hn::ConvertTo(d, top), unit), d, drawn + k);
    }
    std::copy_n(drawn, here, numbers + at);
  }
}

void DrawBits(const Random& random, const std::uint64_t* HWY_RESTRICT places, std::int64_t count,
              std::uint64_t* HWY_RESTRICT bits) {
  const Words u;
  const std::uint32_t stream = stream_word(random.stream, random.layer);
  Halves place;
  for (std::int64_t at = 0; at < count; at += kBlock) {
    const std::int64_t here = std::min(kBlock, count - at);
    place.Split(places + at, here, 32);
    for (std::int64_t k = 0; k < here; k += kLanes) {
      WordVector word[4];
      DrawWords(random, stream, place, k, word);
      hn::Store(word[0], u, place.low + k);
      hn::Store(word[1], u, place.high + k);
    }
    for (std::int64_t k = 0; k < here; ++k) bits[at + k] = std::uint64_t{place.high[k]} << 32 | place.low[k];
  }
}

// A mixer of 32 bits with full avalanche: multiply and xorshift, constants of the lowbias32 search by C.
// Wellons.
HWY_INLINE WordVector Mixed(WordVector x) {
  const Words u;
  x = hn::Xor(x, hn::ShiftRight<16>(x));
  x = hn::Mul(x, hn::Set(u, 0x7feb352du));
  x = hn::Xor(x, hn::ShiftRight<15>(x));
  x = hn::Mul(x, hn::Set(u, 0x846ca68bu));
  return hn::Xor(x, hn::ShiftRight<16>(x));
}

void ApplyFeistel(const Feistel& network, std::uint64_t* HWY_RESTRICT values, std::int64_t count) {
  const Words u;
  const auto mask_of = [](int bits) { return static_cast<std::uint32_t>((std::uint64_t{1} << bits) - 1); };
  const WordVector left_mask = hn::Set(u, mask_of(network.left_bits));
  const WordVector right_mask = hn::Set(u, mask_of(network.right_bits));
  Halves halves;
  for (std::int64_t at = 0; at < count; at += kBlock) {
    const std::int64_t here = std::min(kBlock, count - at);
    std::uint64_t* const block = values + at;
    halves.Split(block, here, network.right_bits);
    for (std::int64_t k = 0; k < kBlock; k += kLanes)
      hn::Store(hn::And(hn::Load(u, halves.low + k), right_mask), u, halves.low + k);
    for (std::size_t round = 0; round < network.keys.size(); round += 2) {
      const WordVector key = hn::Set(u, network.keys[round]), next = hn::Set(u, network.keys[round + 1]);
      for (std::int64_t k = 0; k < kBlock; k += kLanes) {
        WordVector left = hn::Load(u, halves.high + k), right = hn::Load(u, halves.low + k);
        left = hn::Xor(left, hn::And(Mixed(hn::Xor(right, key)), left_mask));
        right = hn::Xor(right, hn::And(Mixed(hn::Add(left, next)), right_mask));
        hn::Store(left, u, halves.high + k);
        hn::Store(right, u, halves.low + k);
      }
    }
    for (std::int64_t k = 0; k < here; ++k)
      block[k] = std::uint64_t{halves.high[k]} << network.right_bits | halves.low[k];
  }
}

}  // namespace tulle::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tulle::kernels {

HWY_EXPORT(DrawUniform);
HWY_EXPORT(DrawBits);
HWY_EXPORT(ApplyFeistel);

void draw_uniform(const Random& random, const std::uint64_t* places, std::int64_t count,
                  float* numbers) noexcept {
  HWY_DYNAMIC_DISPATCH(DrawUniform)(random, places, count, numbers);
}

void draw_bits(const Random& random, const std::uint64_t* places, std::int64_t count,
               std::uint64_t* bits) noexcept {
  HWY_DYNAMIC_DISPATCH(DrawBits)(random, places, count, bits);
}

void feistel(const Feistel& network, std::uint64_t* values, std::int64_t count) noexcept {
  HWY_DYNAMIC_DISPATCH(ApplyFeistel)(network, values, count);
}

}  // namespace tulle::kernels
#endif
