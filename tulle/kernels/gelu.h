#pragma once

#include <cstdint>

namespace tulle::kernels {

// GELU(z) = z Phi(z) on rows of tokens (tokens.h says how they lie), in the exact form. One thread.

/// out = GELU(z) = z Phi(z), the exact form; Phi is off by at most 2e-7.
void gelu(const float* z, std::int64_t values, float* out) noexcept;

/// The same (to rounding), and slope = GELU'(z) = Phi(z) + z phi(z), for little more than one of them.
void gelu_and_slope(const float* z, std::int64_t values, float* out, float* slope) noexcept;

/// z += bias of each channel, then out = GELU(z).
void bias_gelu(float* z, const float* bias, std::int64_t rows, std::int64_t channels, float* out) noexcept;

/// out = GELU(x * scale + shift), scale and shift of each channel; rows of out are out_stride apart.
void affine_gelu(const float* x, const float* scale, const float* shift, std::int64_t rows,
                 std::int64_t channels, float* out, std::int64_t out_stride) noexcept;

/// The same, and slope = GELU'(x * scale + shift), its rows one after another.
void affine_gelu_and_slope(const float* x, const float* scale, const float* shift, std::int64_t rows,
                           std::int64_t channels, float* out, std::int64_t out_stride, float* slope) noexcept;

}  // namespace tulle::kernels
