#pragma once

#include <cstdint>
#include <span>

#include "tulle/kernels/neuron.h"
#include "tulle/kernels/packed.h"

namespace tulle::kernels {

/// Samples of a panel of bytes.
constexpr int kByteWidth = 64;
/// Connections that are summed together; rows are filled up with connections of weight 0 from their first
/// source.
constexpr int kByteGroup = 4;

/// What the bytes of a layer's input mean: x = (byte - zero) * scale.
struct ByteScale {
  float scale = 1.0f;
  std::int32_t zero = 0;  // 0 to 255
};

/// bytes = the panel x [features][64] of floats rounded to nearest and cut off at 0 and 255. Samples lie in
/// the order in which four lines of bytes, interleaved within 16 bytes, give four lines of 32-bit sums in the
/// order of samples: sample s is byte s / 4 % 4 * 16 + s / 16 * 4 + s % 4. NaN becomes `zero`.
void narrow_bytes(const float* x, std::int64_t features, const ByteScale& scale,
                  std::uint8_t* bytes) noexcept;

/// Rows of weights in bytes; lengths of runs are in groups of 4 connections.
struct ByteTile {
  std::span<const PackedRun> runs;
  const std::int32_t* rows;
  const std::uint16_t* columns;
  const std::int8_t* values;
  const float* scales;          // [row], what a sum is worth: scale of the weights * scale of the inputs
  const std::int32_t* offsets;  // [row], added to the sum: -zero * sum of the weights
};

/// y[o] = epilogue( (sum over connections of row o: byte of w * byte of x + offset) * scale ), the sum exact
/// in 32 bits. Shapes: x [sources][64] as narrow_bytes() writes it, y [rows][64]. Cost: 2 * nnz * 64
/// operations on bytes.
void packed_forward(const ByteTile& w, const std::uint8_t* x, float* y, const Epilogue& epilogue) noexcept;

}  // namespace tulle::kernels
