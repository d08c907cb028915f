#pragma once

#include <array>
#include <cstdint>

#include "tulle/base/random.h"

namespace tulle::kernels {

/// numbers[i] = random.uniform(places[i]) for all of `count`. Cost: one Philox block a number, in vectors.
void draw_uniform(const Random& random, const std::uint64_t* places, std::int64_t count,
                  float* numbers) noexcept;

/// The same of random.bits64(places[i]).
void draw_bits(const Random& random, const std::uint64_t* places, std::int64_t count,
               std::uint64_t* bits) noexcept;

/// An alternating Feistel network of eight rounds: it permutes the numbers of `left_bits` + `right_bits`
/// bits.
struct Feistel {
  int left_bits = 0, right_bits = 0;  // at most 32 each
  std::array<std::uint32_t, 8> keys{};
};

/// values[i] = what the network makes of values[i], for all of `count`.
void feistel(const Feistel& network, std::uint64_t* values, std::int64_t count) noexcept;

}  // namespace tulle::kernels
