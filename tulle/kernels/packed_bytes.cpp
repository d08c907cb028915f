#include "tulle/kernels/packed_bytes.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tulle/kernels/packed_bytes.cpp"
#include <hwy/foreach_target.h>  // compiles this file once per target

#include <hwy/highway.h>

#include "tulle/kernels/neuron-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tulle::kernels::HWY_NAMESPACE {

constexpr int kByteLines = kByteWidth / kLine;

// sums[64] in the order of samples, of one row.
#if HWY_TARGET <= HWY_AVX3_DL
// Highway 1.0 has no such instruction and does not let the compiler use it, but checks for it.
HWY_INLINE __m512i DotFour(__m512i sums, __m512i bytes, __m512i weights) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(bytes), "v"(weights));
  return sums;
}

// Four lines of bytes become four lines of 32-bit words, each word the four connections of one sample;
// vpdpbusd multiplies a word by the four weights and adds all up.
HWY_INLINE void SumBytes(std::int64_t groups, const std::uint16_t* HWY_RESTRICT columns,
                         const std::int8_t* HWY_RESTRICT values, const std::uint8_t* HWY_RESTRICT x,
                         std::int32_t* HWY_RESTRICT sums) {
  __m512i total[kByteLines] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(),
                               _mm512_setzero_si512()};
  const auto line = [&](std::uint16_t column) {
    return _mm512_load_si512(x + std::size_t{column} * kByteWidth);
  };
  for (std::int64_t g = 0; g < groups; ++g, columns += kByteGroup, values += kByteGroup) {
    std::int32_t four;
    std::memcpy(&four, values, sizeof four);
    const __m512i weights = _mm512_set1_epi32(four);
    const __m512i a = line(columns[0]), b = line(columns[1]), c = line(columns[2]), d = line(columns[3]);
    const __m512i ab_low = _mm512_unpacklo_epi8(a, b), ab_high = _mm512_unpackhi_epi8(a, b);
    const __m512i cd_low = _mm512_unpacklo_epi8(c, d), cd_high = _mm512_unpackhi_epi8(c, d);
    total[0] = DotFour(total[0], _mm512_unpacklo_epi16(ab_low, cd_low), weights);
    total[1] = DotFour(total[1], _mm512_unpackhi_epi16(ab_low, cd_low), weights);
    total[2] = DotFour(total[2], _mm512_unpacklo_epi16(ab_high, cd_high), weights);
    total[3] = DotFour(total[3], _mm512_unpackhi_epi16(ab_high, cd_high), weights);
  }
  for (int i = 0; i < kByteLines; ++i) _mm512_store_si512(sums + i * kLine, total[i]);
}
#else
HWY_INLINE void SumBytes(std::int64_t groups, const std::uint16_t* HWY_RESTRICT columns,
                         const std::int8_t* HWY_RESTRICT values, const std::uint8_t* HWY_RESTRICT x,
                         std::int32_t* HWY_RESTRICT sums) {
  HWY_ALIGN std::int32_t total[kByteWidth] = {};
  for (std::int64_t k = 0; k < groups * kByteGroup; ++k) {
    const std::uint8_t* HWY_RESTRICT line = x + std::size_t{columns[k]} * kByteWidth;
    const std::int32_t weight = values[k];
    for (int i = 0; i < kByteWidth; ++i) total[i] += weight * line[i];
  }
  for (int i = 0; i < kByteWidth; ++i) sums[i / 4 % 4 * kLine + i / kLine * 4 + i % 4] = total[i];
}
#endif

void ForwardBytes(const ByteTile& w, const std::uint8_t* HWY_RESTRICT x, float* HWY_RESTRICT y,
                  const Epilogue& epilogue) {
  const Floats d;
  const hn::RebindToSigned<Floats> integers;
  const std::int32_t* rows = w.rows;
  const std::uint16_t* columns = w.columns;
  const std::int8_t* values = w.values;
  for (const PackedRun& run : w.runs)
    for (std::int32_t i = 0; i < run.rows; ++i, ++rows) {
      HWY_ALIGN std::int32_t sums[kByteWidth];
      SumBytes(run.length, columns, values, x, sums);
      columns += std::int64_t{run.length} * kByteGroup;
      values += std::int64_t{run.length} * kByteGroup;
      const auto offset = hn::Set(integers, w.offsets[*rows]);
      const Vector scale = hn::Set(d, w.scales[*rows]);
      Vector z[kByteWidth / kLanes];
      for (int v = 0; v < kByteWidth / kLanes; ++v)
        z[v] = hn::Mul(scale, hn::ConvertTo(d, hn::Add(hn::Load(integers, sums + v * kLanes), offset)));
      StoreNeuron<kByteWidth>(z, *rows, epilogue, y + std::int64_t{*rows} * kByteWidth);
    }
}

void NarrowBytes(const float* HWY_RESTRICT x, std::int64_t features, const ByteScale& scale,
                 std::uint8_t* HWY_RESTRICT bytes) {
  const Floats d;
  const hn::RebindToSigned<Floats> integers;
  const Vector factor = hn::Set(d, 1.0f / scale.scale), zero = hn::Set(d, static_cast<float>(scale.zero));
  const Vector least = hn::Zero(d), most = hn::Set(d, 255.0f);
  for (std::int64_t f = 0; f < features; ++f, x += kByteWidth, bytes += kByteWidth) {
    HWY_ALIGN std::int32_t rounded[kByteWidth];
    for (int v = 0; v < kByteWidth; v += kLanes) {
      const Vector wanted = hn::MulAdd(hn::Load(d, x + v), factor, zero);
      const Vector number = hn::IfThenElse(hn::IsNaN(wanted), zero, wanted);
      hn::Store(hn::NearestInt(hn::Min(hn::Max(number, least), most)), integers, rounded + v);
    }
#if HWY_TARGET <= HWY_AVX3_DL
    // Packing works within 16 bytes, which gives just this order.
    const auto line = [&](int i) { return _mm512_load_si512(rounded + i * kLine); };
    const __m512i low = _mm512_packs_epi32(line(0), line(1)), high = _mm512_packs_epi32(line(2), line(3));
    _mm512_store_si512(bytes, _mm512_packus_epi16(low, high));
#else
    for (int i = 0; i < kByteWidth; ++i)
      bytes[i] = static_cast<std::uint8_t>(rounded[i / 4 % 4 * kLine + i / kLine * 4 + i % 4]);
#endif
  }
}

}  // namespace tulle::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tulle::kernels {

HWY_EXPORT(ForwardBytes);
HWY_EXPORT(NarrowBytes);

void packed_forward(const ByteTile& w, const std::uint8_t* x, float* y, const Epilogue& epilogue) noexcept {
  HWY_DYNAMIC_DISPATCH(ForwardBytes)(w, x, y, epilogue);
}

void narrow_bytes(const float* x, std::int64_t features, const ByteScale& scale,
                  std::uint8_t* bytes) noexcept {
  HWY_DYNAMIC_DISPATCH(NarrowBytes)(x, features, scale, bytes);
}

}  // namespace tulle::kernels
#endif
