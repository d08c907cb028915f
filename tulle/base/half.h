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

}  // namespace tulle
