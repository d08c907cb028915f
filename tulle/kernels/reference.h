#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "tulle/base/random.h"
#include "tulle/kernels/neuron.h"
#include "tulle/kernels/spmm.h"

/// Every kernel as a plain loop in double precision, without tiles, vectors or an order of summation: the
/// specification of the kernels and the oracle of their tests. Parameters are those of the kernels.
namespace tulle::kernels::reference {

/// An exact sum together with the error a float kernel may make on it, whatever its order of summation:
/// |kernel - value| <= bound(). Each of the n terms is rounded at most once as a product and n times in sums,
/// so the error is below (n + 1) eps sum |terms|; the factor 4 covers terms of second order and the rounding
/// of inputs that are results themselves.
struct Sum {
  double value = 0.0;
  double magnitude = 0.0;  // of the terms
  std::int64_t terms = 0;

  void add(double term) {
    value += term;
    magnitude += std::abs(term);
    ++terms;
  }
  double bound() const { return 4.0 * 0x1p-24 * static_cast<double>(terms + 1) * magnitude; }
};

using Sums = std::vector<Sum>;

inline std::size_t at(std::int64_t row, int width, int sample) {
  return static_cast<std::size_t>(row * width + sample);
}

/// Calls visit(row, column, k) for every connection k.
template <class Visit>
void for_connections(const CsrView& w, std::int64_t rows, Visit visit) {
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t k = w.begin[row]; k < w.end[row]; ++k) visit(row, std::int64_t{w.columns[k]}, k);
}

/// W x: [rows][width], before bias and activation.
inline Sums forward(const CsrView& w, std::int64_t rows, int width, const float* x) {
  Sums y(static_cast<std::size_t>(rows * width));
  for_connections(w, rows, [&](std::int64_t row, std::int64_t column, std::int64_t k) {
    for (int s = 0; s < width; ++s) y[at(row, width, s)].add(double{w.values[k]} * x[at(column, width, s)]);
  });
  return y;
}

/// W^T dz: [columns][width], before the gate.
inline Sums backward_data(const CsrView& w, std::int64_t rows, std::int64_t columns, int width,
                          const float* dz) {
  Sums dx(static_cast<std::size_t>(columns * width));
  for_connections(w, rows, [&](std::int64_t row, std::int64_t column, std::int64_t k) {
    for (int s = 0; s < width; ++s) dx[at(column, width, s)].add(double{w.values[k]} * dz[at(row, width, s)]);
  });
  return dx;
}

/// For every connection the sum over the samples of x[column] * dz[row].
inline Sums backward_weights(const CsrView& w, std::int64_t rows, int width, const float* x,
                             const float* dz) {
  Sums dw(static_cast<std::size_t>(rows == 0 ? 0 : w.end[rows - 1]));
  for_connections(w, rows, [&](std::int64_t row, std::int64_t column, std::int64_t k) {
    for (int s = 0; s < width; ++s)
      dw[static_cast<std::size_t>(k)].add(double{x[at(column, width, s)]} * dz[at(row, width, s)]);
  });
  return dw;
}

/// The bit of one sample in an array of bit words [row][bit_words(width)].
inline bool bit(const std::uint16_t* bits, std::int64_t row, int width, int sample) {
  return (bits[row * bit_words(width) + sample / 16] >> (sample % 16) & 1) != 0;
}

/// Whether z counts as the positive side.
inline bool is_positive(const Epilogue& e, double z) { return e.zero_is_negative ? z > 0.0 : z >= 0.0; }

/// a of one sample of one row from its sum.
inline double epilogue(const Epilogue& e, std::int64_t row, int width, int sample, double sum) {
  const double z = sum + (e.bias == nullptr ? 0.0 : double{e.bias[row]});
  const double open = is_positive(e, z) ? z : e.slope * z;
  const double h = open > e.cap ? e.cap : open;
  if (e.keep_bits == nullptr) return h;
  return bit(e.keep_bits, row, width, sample) ? h * e.keep_scale : 0.0;
}

/// dL/dz of one sample of one row from dL/da.
inline double gate(const Gate& g, std::int64_t row, int width, int sample, double grad) {
  if (g.keep_bits != nullptr) grad = bit(g.keep_bits, row, width, sample) ? grad * g.keep_scale : 0.0;
  const bool negative = g.positive_bits != nullptr && !bit(g.positive_bits, row, width, sample);
  return negative ? grad * g.slope : grad;
}

/// The sum over the samples of each row.
inline Sums row_sums(std::int64_t rows, int width, const float* panel) {
  Sums sums(static_cast<std::size_t>(rows));
  for (std::int64_t row = 0; row < rows; ++row)
    for (int s = 0; s < width; ++s) sums[static_cast<std::size_t>(row)].add(panel[at(row, width, s)]);
  return sums;
}

/// The one order in which float sums over samples are taken, on every instruction set: the lines of 16 one
/// after another, then neighbours, neighbours of those, and so on.
inline float sum_in_fixed_tree(const float* samples, int width) {
  float lane[16] = {};
  for (int s = 0; s < 16 && s < width; ++s) lane[s] = samples[s];
  for (int s = 16; s < width; ++s) lane[s % 16] += samples[s];
  for (int count = 8; count >= 1; count /= 2)
    for (int i = 0; i < count; ++i) lane[i] = lane[2 * i] + lane[2 * i + 1];
  return lane[0];
}

/// Whether dropout keeps neuron `id` of sample `sample` of the panel at `place`, by one draw: samples go in
/// groups of 128 = 8 lines of 16; the 16-bit halves of the four words at (neuron, group, lane) belong to the
/// eight lines of the group.
inline bool keeps(const DropoutPlace& place, std::uint32_t drop_threshold, std::uint32_t id, int sample) {
  const auto position = static_cast<std::uint64_t>(place.first_position + sample);
  const std::uint64_t group = position / 128, line = position / 16 % 8, lane = position % 16;
  const std::uint64_t block = (std::uint64_t{place.worker} << 24) + group * 16 + lane;
  const Random random{
      .seed = place.seed, .stream = Stream::kDropout, .layer = place.layer, .event = place.step};
  const std::uint32_t word = random.words(std::uint64_t{id} << 32 | block)[line / 2];
  return (line % 2 == 0 ? word & 0xffffu : word >> 16) >= drop_threshold;
}

/// op(A) op(B) (+ C): [m][n] without gaps.
inline Sums gemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k,
                 const float* a, std::int64_t a_stride, const float* b, std::int64_t b_stride, bool add,
                 const float* c, std::int64_t c_stride) {
  Sums result(static_cast<std::size_t>(m * n));
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      Sum& sum = result[static_cast<std::size_t>(i * n + j)];
      if (add) sum.add(c[i * c_stride + j]);
      for (std::int64_t l = 0; l < k; ++l)
        sum.add(double{transpose_a ? a[l * a_stride + i] : a[i * a_stride + l]} *
                (transpose_b ? b[j * b_stride + l] : b[l * b_stride + j]));
    }
  }
  return result;
}

}  // namespace tulle::kernels::reference
