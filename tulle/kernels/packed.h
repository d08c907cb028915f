#pragma once

#include <cstdint>
#include <span>

#include "tulle/kernels/neuron.h"
#include "tulle/kernels/spmm.h"

namespace tulle::kernels {

/// `rows` rows with `length` connections each.
struct PackedRun {
  std::int32_t rows;
  std::int32_t length;
};

/// The connections of one tile for inference, laid out in the order of their use: rows of equal length make a
/// run, so that the end of a row is foreseen and several rows advance together; sources are counted from the
/// tile's first one in 16 bits. A first or last tile names every row, others may leave empty rows out.
struct PackedTile {
  std::span<const PackedRun> runs;
  const std::int32_t* rows;      // targets, run by run
  const std::uint16_t* columns;  // sources, row by row
  const float* values;
};

/// y[o] = epilogue( sum over connections k of row o: w_k * x[column_k] ) for the rows of `w`: what
/// spmm_forward() computes, with the same bits, faster. Shapes: x [sources of the tile][width], y
/// [rows][width]; width 16, 32, 64 or 128. Cost: 2 * nnz * width flop.
void packed_forward(const PackedTile& w, int width, const float* x, float* y, const Epilogue& epilogue,
                    Tile tile = {}) noexcept;

/// The same with x in bfloat16 (kernels/narrow.h); width from 32. Weights and sums are floats.
void packed_forward(const PackedTile& w, int width, const Bf16Pair* x, float* y, const Epilogue& epilogue,
                    Tile tile = {}) noexcept;

}  // namespace tulle::kernels
