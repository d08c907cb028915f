#pragma once

#include <cstdint>

#include "tulle/base/parallel.h"
#include "tulle/kernels/narrow.h"
#include "tulle/kernels/neuron.h"

namespace tulle::kernels {

/// Connections by target neuron (row): those of row r are [begin[r], end[r]). A whole matrix in CSR has
/// begin = row_ptr and end = row_ptr + 1; a tile of it holds the part of each row whose sources lie in one
/// range, so that their activations stay in a near cache for all rows.
struct CsrView {
  const std::int64_t* begin;
  const std::int64_t* end;
  const std::int32_t* columns;
  const float* values;
};

/// The same with weights in bfloat16.
struct Bf16CsrView {
  const std::int64_t* begin;
  const std::int64_t* end;
  const std::int32_t* columns;
  const std::uint16_t* values;
};

/// Connections by source neuron, all to the targets of one tile: those of source s are [begin[s],
/// begin[s + 1]), their targets are counted from the tile's first one. `targets` and `values` (weights) hold
/// those of the sources asked for alone, from the first connection of the first of them on.
struct SourceView {
  const std::int64_t* begin;
  const std::int32_t* targets;
  const float* values;
};

/// Which tile of its neurons a call works on: the first starts the sums, others go on with what the output
/// holds, the last finishes the neurons. A float that is stored and loaded keeps its bits, so results do not
/// depend on tiles.
struct Tile {
  bool first = true;
  bool last = true;
  bool far = false;  // x lies in main memory: its lines are asked for ahead; of a whole matrix alone
};

/// y[o] = epilogue( sum over connections k of row o: w_k * x[column_k] ) for the rows `rows` of one panel.
/// Connections are added in row order with one fused multiply-add each, whatever the thread count.
/// Shapes: x [columns][width], y [rows][width]; width a power of two from 2 to 128. Cost: 2 * nnz * width
/// flop.
void spmm_forward(const CsrView& w, Range rows, int width, const float* x, float* y, const Epilogue& epilogue,
                  Tile tile = {}) noexcept;
/// The same with weights, activations or both in bfloat16, widened as they are read; with such weights a
/// whole matrix whose x lies in main memory. y may be null where the epilogue rounds the outputs.
void spmm_forward(const Bf16CsrView& w, Range rows, int width, const float* x, float* y,
                  const Epilogue& epilogue) noexcept;
void spmm_forward(const CsrView& w, Range rows, int width, const std::uint16_t* x, float* y,
                  const Epilogue& epilogue, Tile tile = {}) noexcept;
void spmm_forward(const Bf16CsrView& w, Range rows, int width, const std::uint16_t* x, float* y,
                  const Epilogue& epilogue) noexcept;

/// One pass over the connections of the sources `sources` gives both halves of the backward pass:
///   dx[i] = gate( sum over connections k of source i: w_k * dz[target_k] )
///   dw_k  = (add ? dw_k : 0) + sum over samples: x[i] * dz[target_k]
/// dx is skipped if it is null (first layer); w.values may then be null too. Each line of dz is loaded once
/// and used twice. dw, like the arrays of w, begins with the first connection of the first source. Shapes: x,
/// dx [sources][width], dz [targets of the tile][width], width from 16. Cost: 4 * nnz * width flop (2 if dx
/// is null).
void spmm_backward(const SourceView& w, Range sources, int width, const float* x, const float* dz, float* dx,
                   const Gate& gate, bool add, float* dw, Tile tile = {}) noexcept;

/// The same with activations x and errors dz in bfloat16 (kernels/narrow.h); weights, sums and results are
/// floats. Width from 32. Processors with vdpbf16ps take it for dw; it rounds in its own way and takes
/// denormals as 0.
void spmm_forward(const CsrView& w, Range rows, int width, const Bf16Pair* x, float* y,
                  const Epilogue& epilogue, Tile tile = {}) noexcept;
void spmm_backward(const SourceView& w, Range sources, int width, const Bf16Pair* x, const Bf16Pair* dz,
                   float* dx, const Gate& gate, bool add, float* dw, Tile tile = {}) noexcept;

}  // namespace tulle::kernels
