#pragma once

#include <cstdint>

namespace tulle::kernels {

// What mixes tokens with their neighbours: rows of a convolution, lines of an image (tokens.h says how tokens
// lie). One thread.

/// One row of a depthwise 3 x 3 convolution with zeros around: out[w][c] = bias[c] + sum over r, s of
/// weights[3 r + s][c] * x[r][w + s - 1][c]. x: the rows of tokens above, at and below, null where there is
/// none; bias may be null. `out` may be none of them.
void depthwise_row(const float* const x[3], const float* weights, const float* bias, std::int64_t width,
                   std::int64_t channels, float* out) noexcept;

/// weight_sums[3 r + s][c] += sum over w of x[r][w + s - 1][c] * g[w][c].
void depthwise_row_gradient(const float* const x[3], const float* g, std::int64_t width,
                            std::int64_t channels, float* weight_sums) noexcept;

/// Mixing along one line of tokens: out[v] = bias[v] + sum over w of P[v][w] x[w], or += without bias if
/// `add`; P is `weight`, length x length, or its transpose. Tokens of x and of out are their strides apart;
/// bias may be null.
void mix_line(const float* weight, bool transposed, const float* bias, std::int64_t length,
              std::int64_t channels, const float* x, std::int64_t x_stride, bool add, float* out,
              std::int64_t out_stride) noexcept;

/// The gradient of P: sums[v][w] += sum over lines and channels of g[v] x[w]. g, x: the first token of each
/// line, changed on return; tokens are `stride` apart.
void mix_gradient(const float** g, const float** x, std::int64_t lines, std::int64_t stride,
                  std::int64_t channels, std::int64_t length, float* sums) noexcept;

}  // namespace tulle::kernels
