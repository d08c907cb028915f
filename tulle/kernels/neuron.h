#pragma once

#include <cstdint>
#include <limits>

#include "tulle/base/parallel.h"

namespace tulle::kernels {

/// Words of the bits of one row; of a panel narrower than 16, one, whose other bits mean nothing.
constexpr int bit_words(int width) { return (width + 15) / 16; }

/// What a piecewise linear neuron does to z before it is stored, and what it leaves behind for the backward
/// pass. All arrays belong to one panel; bits are one 16-bit word per line of 16 samples,
/// [row][bit_words(width)].
///   z = sum + bias;  h = z where z > 0 (or z >= 0), slope * z elsewhere, at most cap;  a = keep ? h *
///   keep_scale : 0
struct Epilogue {
  const float* bias = nullptr;    // [rows]; null: no bias
  float slope = 1.0f;             // negative side; 1 is the identity, 0 ReLU
  bool zero_is_negative = false;  // ReLU: the slope at 0 is 0; All-ReLU and leaky ReLU: it is 1
  float cap = std::numeric_limits<float>::infinity();
  std::uint16_t* positive_bits = nullptr;    // written if not null
  const std::uint16_t* keep_bits = nullptr;  // dropout; null: everything kept
  float keep_scale = 1.0f;                   // 1 / (1 - p)
  std::uint16_t* rounded = nullptr;  // [row][width], bfloat16, to the nearest: where a goes in place of
                                     // floats; null: it stays one
};

/// The derivative of Epilogue: turns dL/da into dL/dz.
struct Gate {
  float slope = 1.0f;
  const std::uint16_t* positive_bits = nullptr;  // null: derivative 1 everywhere
  const std::uint16_t* keep_bits = nullptr;
  float keep_scale = 1.0f;

  bool open() const { return positive_bits == nullptr && keep_bits == nullptr; }
};

/// Applies `epilogue` in place to rows [rows.begin, rows.end) of a panel that holds sums without bias.
/// Shapes: panel [rows][width], width a power of two from 2 to 128.
void apply_epilogue(Range rows, int width, float* panel, const Epilogue& epilogue) noexcept;

/// Applies `gate` in place to rows of a panel that holds dL/da.
void apply_gate(Range rows, int width, float* panel, const Gate& gate) noexcept;

/// sums[r] = (add ? sums[r] : 0) + the sum over the samples of row r of a panel of dL/da, each through
/// `gate`: bias gradients. Lines are added in order, then the 16 lanes in a fixed tree. The panel stays as it
/// is.
void sum_rows(Range rows, int width, const float* panel, const Gate& gate, bool add, float* sums) noexcept;

/// Which draw of which neuron of which sample: everything dropout masks depend on.
struct DropoutPlace {
  std::uint64_t seed = 0;
  std::uint32_t layer = 0;
  std::uint32_t step = 0;
  std::uint32_t worker = 0;  // below 256
  // Place of the panel's first sample in the step's global batch; a multiple of the panel's width, or of 16.
  std::int64_t first_position = 0;
};

/// keep_bits[r][bit_words(width)]: each bit is 1 with probability 1 - drop_threshold / 65536, drawn by
/// Philox4x32-10 from (seed, layer, step, worker, position, neuron id) alone, so that any thread, panel width
/// and micro-batch draws the same mask. `ids` are the original neuron numbers of the rows (null: the row
/// number itself). Cost: about one Philox block for 8 samples.
void dropout_bits(Range rows, int width, const DropoutPlace& place, std::uint32_t drop_threshold,
                  const std::uint32_t* ids, std::uint16_t* keep_bits) noexcept;

}  // namespace tulle::kernels
