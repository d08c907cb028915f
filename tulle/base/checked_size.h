#pragma once

#include <cstdint>
#include <limits>
#include <stdexcept>

namespace tulle {

/// a * b and a + b of sizes that come from a file or a user, or std::overflow_error. Every size is checked
/// with these before memory is taken.
inline std::uint64_t checked_multiply(std::uint64_t a, std::uint64_t b) {
  std::uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) throw std::overflow_error("size overflows 64 bits");
  return product;
}
inline std::uint64_t checked_add(std::uint64_t a, std::uint64_t b) {
  std::uint64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) throw std::overflow_error("size overflows 64 bits");
  return sum;
}

}  // namespace tulle
