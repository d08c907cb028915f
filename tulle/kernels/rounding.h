#pragma once

#include <cstdint>

namespace tulle::kernels {

/// The step of a training whose results are rounded: all that the random bits depend on beside the
/// connection.
struct RoundingPlace {
  std::uint64_t seed = 0;
  std::uint32_t layer = 0;
  std::uint32_t step = 0;
};

/// What a step made of some connections, from source columns[k] to target first_row + rows[k] each: `value`
/// and, unless null, `momentum` as bfloat16. A number between two goes to the upper one with the share of the
/// way to it that it has gone, so that on average nothing is lost: plain rounding would lose every change
/// below 2^-9 of a weight. Numbers beyond the largest stay the largest; infinity and NaN stay what they are.
/// The random bits are those of Random{seed, Stream::kRounding, layer, step} (base/random.h) at target << 32
/// | source: the lower half of the first word for values, the upper for momentum. Cost: one Philox block a
/// connection.
/// Source: stochastic rounding, Gupta et al. 2015 (arXiv 1502.02551).
void round_stochastically(const RoundingPlace& place, std::int32_t first_row, const std::int32_t* rows,
                          const std::int32_t* columns, std::int64_t count, const float* value,
                          const float* momentum, std::uint16_t* rounded_value,
                          std::uint16_t* rounded_momentum) noexcept;

/// numbers = `count` bfloat16 as floats; exact. Cost: half a read, one write.
void widen(const std::uint16_t* bits, std::int64_t count, float* numbers) noexcept;

}  // namespace tulle::kernels
