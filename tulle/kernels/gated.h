#pragma once

#include <cstdint>

namespace tulle::kernels {

// Products of columns of samples that gates switch on and off (recover/gated_design.h). Columns lie feature
// by feature, padded with zeros: `rows` is a multiple of kGateRows everywhere, and at most kTileRows. A gate
// is one bit for each row, row i in bit i % 64 of word i / 64. Sums are in double.

inline constexpr std::int64_t kGateRows = 64;
inline constexpr std::int64_t kTileRows = 512;
inline constexpr std::int64_t kTileWords = kTileRows / 64;

/// t[i] = sum over k < count of values[k] * x[features[k] * stride + i], in the order of k.
void combine_columns(const float* x, std::int64_t stride, const std::int32_t* features, const double* values,
                     std::int64_t count, std::int64_t rows, double* t) noexcept;

/// sums[k] += the sum over i of x[features[k] * stride + i] * r[i].
void dot_columns(const float* x, std::int64_t stride, const std::int32_t* features, std::int64_t count,
                 const double* r, std::int64_t rows, double* sums) noexcept;

/// bits[i] = t[i] > 0.
void positive_gates(const double* t, std::int64_t rows, std::uint64_t* bits) noexcept;

/// y[i] += bits[i] ? t[i] : 0.
void add_gated(const double* t, const std::uint64_t* bits, std::int64_t rows, double* y) noexcept;

/// y[i] += sign > 0 ? max(t[i], 0) : min(t[i], 0).
void add_rectified(const double* t, bool positive, std::int64_t rows, double* y) noexcept;

/// out[i] = bits[i] ? r[i] : 0.
void gate(const double* r, const std::uint64_t* bits, std::int64_t rows, double* out) noexcept;
void gate(const double* r, const std::uint64_t* bits, std::int64_t rows, float* out) noexcept;

}  // namespace tulle::kernels
