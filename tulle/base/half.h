#pragma once

#include <bit>
#include <cstdint>

namespace tulle {

/// The number that the bits of a 16-bit IEEE float stand for; exact.
inline float half_to_float(std::uint16_t bits) {
  const auto exponent = static_cast<std::uint32_t>(bits >> 10 & 31);
  const auto fraction = static_cast<std::uint32_t>(bits & 1023);
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000) << 16;
  if (exponent == 0) {  // zero and denormals
    const float size = static_cast<float>(fraction) * 0x1p-24f;
    return sign != 0 ? -size : size;
  }
  return std::bit_cast<float>(sign | (exponent == 31 ? 255u : exponent + 112) << 23 | fraction << 13);
}

/// The number that the bits of a bfloat16 stand for: the upper half of a float.
inline float bf16_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

/// The bits of the bfloat16 nearest to a number, ties to even; a NaN stays one.
inline std::uint16_t float_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const bool nan = (bits & 0x7fffffff) > 0x7f800000;
  const std::uint32_t rounded = bits + 0x7fff + (bits >> 16 & 1);
  return static_cast<std::uint16_t>((nan ? bits | 0x400000 : rounded) >> 16);
}

}  // namespace tulle
