#pragma once

#include <cstdint>

namespace tulle::kernels {

/// Activations in half the bytes. A panel [feature][width] of floats becomes [feature][width / 2] pairs: of
/// each 32 samples, pair i holds sample i in its low and sample i + 16 in its high half, so that two
/// operations on 16 lanes give both lines of 16 back in order. Rounded to nearest, ties to even; NaN stays
/// NaN.
using Bf16Pair = std::uint32_t;

/// rounded = the `values` floats at x, rounded alike, as floats. Cost: one read, one write.
void round_to_bf16(const float* x, std::int64_t values, float* rounded) noexcept;

/// The same as bfloat16, in the order of x. Cost: one read, half a write.
void narrow_in_order(const float* x, std::int64_t values, std::uint16_t* rounded) noexcept;

/// pairs = the `values` floats at x (a multiple of 32), rounded. Cost: one read, half a write.
void narrow(const float* x, std::int64_t values, Bf16Pair* pairs) noexcept;

}  // namespace tulle::kernels
