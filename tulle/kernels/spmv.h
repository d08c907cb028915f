#pragma once

#include <cstdint>

#include "tulle/kernels/neuron.h"
#include "tulle/kernels/spmm.h"

namespace tulle::kernels {

constexpr int kSliceRows = 8;

/// The connections of one tile for a single sample, in slices of 8 rows of about equal length: first as many
/// connections of each row as the shortest has, [connection][8], then what is left of each row, row by row.
/// Sources are counted from the tile's first one.
struct SlicedTile {
  std::int64_t slices;
  const std::int32_t* rows;     // [slice][8]; the last slice repeats a row where it has fewer
  const std::int32_t* lengths;  // [slice][8], 0 where a row is repeated
  const std::uint16_t* columns;
  const float* values;
};

/// y[o] = epilogue( sum over connections k of row o: w_k * x[column_k] ) for one sample, with the bits of
/// spmm_forward(). Shapes: x [sources of the tile], y [rows]. Only bias, slope and cap of `epilogue` are
/// used.
///
/// One sample has no line to share a broadcast weight among, and a gather instruction is as slow as its
/// loads: 8 rows at once need no sums across lanes, and 4 columns are read as one word. Cost: 2 * nnz flop.
void spmv_forward(const SlicedTile& w, const float* x, float* y, const Epilogue& epilogue,
                  Tile tile = {}) noexcept;

/// Bias, slope and cap of `epilogue` on single sums without bias, in place.
void apply_epilogue_to_one(Range rows, float* y, const Epilogue& epilogue) noexcept;

}  // namespace tulle::kernels
