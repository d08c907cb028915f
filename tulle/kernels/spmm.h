#pragma once

#include <cstdint>

#include "tulle/base/parallel.h"
#include "tulle/kernels/neuron.h"

namespace tulle::kernels {

/// A sparse matrix by target neuron, as stored by sparse/topology.h: row = target, column = source.
struct CsrView {
  const std::int64_t* row_ptr;
  const std::int32_t* columns;
  const float* values;
};

/// The same matrix read by source neuron: for each source its targets, and where each connection's value lies
/// in the arrays of the CsrView.
struct SourceView {
  const std::int64_t* source_ptr;
  const std::int32_t* targets;
  const std::uint32_t* positions;
  const float* values;  // in CSR order
};

/// y[o] = epilogue( sum over connections k of row o: w_k * x[column_k] ) for the rows `rows` of one panel.
/// Connections are added in row order with one fused multiply-add each, whatever the thread count.
/// Shapes: x [columns][width], y [rows][width]; width 16, 32, 64 or 128. Cost: 2 * nnz * width flop.
void spmm_forward(const CsrView& w, Range rows, int width, const float* x, float* y,
                  const Epilogue& epilogue) noexcept;

/// One pass over the connections of the sources `sources` gives both halves of the backward pass:
///   dx[i] = gate( sum over connections k of source i: w_k * dz[target_k] )   skipped if dx is null (first
///   layer) dw_k  = (add ? dw_k : 0) + sum over samples: x[i] * dz[target_k]
/// Each line of dz is loaded once and used twice. dw is in CSR order; distinct sources write distinct
/// entries. Shapes: x, dx [sources][width], dz [targets][width]. Cost: 4 * nnz * width flop (2 if dx is
/// null).
void spmm_backward(const SourceView& w, Range sources, int width, const float* x, const float* dz, float* dx,
                   const Gate& gate, bool add, float* dw) noexcept;

}  // namespace tulle::kernels
