#pragma once

#include <cstdint>

namespace tulle::kernels {

// Work on tokens: matrices of `rows` tokens, row-major, `channels` floats each, contiguous. One thread;
// callers share out the rows in tiles that do not depend on the number of threads. Sums over rows go from the
// first to the last. `out` may be the input unless said otherwise.

/// out = x * y, value by value; rows of x are x_stride apart.
void multiply_rows(const float* x, std::int64_t x_stride, const float* y, std::int64_t rows,
                   std::int64_t channels, float* out) noexcept;

/// Mean and sum of squared deviations from it, of each channel over the rows: one tile of a batch's
/// statistics.
void channel_moments(const float* x, std::int64_t rows, std::int64_t channels, float* mean,
                     float* deviations) noexcept;

/// sums = sum over the rows of g, dots = that of g * (x * scale + shift), of each channel.
void channel_dots(const float* g, const float* x, const float* scale, const float* shift, std::int64_t rows,
                  std::int64_t channels, float* sums, float* dots) noexcept;

/// sums += x summed over the rows, which are `stride` apart.
void add_channel_sums(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t channels,
                      float* sums) noexcept;

/// out = g * by_g + x * by_x + constant, and what `added` holds unless it is null: the way back through a
/// norm over the batch. by_g, by_x, constant of each channel.
void combine_channels(const float* g, const float* x, const float* by_g, const float* by_x,
                      const float* constant, const float* added, std::int64_t rows, std::int64_t channels,
                      float* out) noexcept;

/// Layer norm of every row: out = (x - mean) * rstd * gamma + beta, with mean and rstd = 1 / sqrt(variance +
/// 1e-5) over the channels, left behind for the way back.
void layer_norm(const float* x, const float* gamma, const float* beta, std::int64_t rows,
                std::int64_t channels, float* out, float* mean, float* rstd) noexcept;

/// The same with the mean and rstd that it left behind: the same bits.
void layer_norm_again(const float* x, const float* gamma, const float* beta, const float* mean,
                      const float* rstd, std::int64_t rows, std::int64_t channels, float* out) noexcept;

/// From g = dL/dout: out = added + dL/dx; gamma_sums and beta_sums += what these rows add to dL/dgamma and
/// dL/dbeta.
void layer_norm_back(const float* g, const float* x, const float* gamma, const float* mean, const float* rstd,
                     const float* added, std::int64_t rows, std::int64_t channels, float* out,
                     float* gamma_sums, float* beta_sums) noexcept;

/// out = x + (branch + bias) * (scale of the row); bias may be null (0), scale may be null (1).
void add_branch(const float* x, const float* branch, const float* bias, const float* row_scale,
                std::int64_t rows, std::int64_t channels, float* out) noexcept;

/// out = x * (scale of the row); scale may be null (1).
void scale_rows(const float* x, const float* row_scale, std::int64_t rows, std::int64_t channels,
                float* out) noexcept;

/// totals[r] += the sum over the channels of row r; rows are `stride` apart.
void add_channel_totals(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t channels,
                        float* totals) noexcept;

/// out[c][i] = x[i][c] for up to `width` rows, which are x_stride apart; lanes beyond `rows` become 0. Panels
/// of tokens for the kernels of sparse layers.
void to_panel(const float* x, std::int64_t x_stride, std::int64_t rows, std::int64_t channels, int width,
              float* out) noexcept;

/// The way back: out[i][c] = x[c][i].
void from_panel(const float* x, std::int64_t rows, std::int64_t channels, int width, float* out) noexcept;

}  // namespace tulle::kernels
