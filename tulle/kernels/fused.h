#pragma once

#include <cstdint>

#include "tulle/kernels/neuron.h"

namespace tulle::kernels {

/// Some connections in the order of their targets.
struct Links {
  static constexpr int kAhead = 32;  // entries that `columns` has beyond `count`: what comes next

  std::int64_t count;
  const std::int32_t* rows;     // the target of each, as its row of `errors`
  const std::int32_t* columns;  // the source of each
  const float* weights;
};

/// Which of the connections `columns`, `rows` (count of each) come from the sources [first, first + sources):
/// writes their columns, rows and places in the arrays, and returns how many. What it writes to has room for
/// count + 16 entries. Cost: no branch for a connection, because none could be foreseen.
std::int64_t select_sources(const std::int32_t* columns, const std::int32_t* rows, std::int64_t count,
                            std::int32_t first, std::int32_t sources, std::int32_t* own_columns,
                            std::int32_t* own_rows, std::int32_t* places) noexcept;

/// For connections k in their order, with t and s the target and source of k and e = gate(errors[t]):
///   dx[s] += w_k * e
///   dw_k   = (add ? dw_k : 0) + sum over samples: x[s] * e
/// Sums have the order and the bits of spmm_backward(). dx is skipped if it is null. x and dx may lie in main
/// memory: their lines are asked for kAhead connections before they are needed. Shapes: errors [rows][width],
/// x and dx [columns][width], width a power of two from 2 to 128. Cost: 4 * count * width flop; in main
/// memory one line of x, and one of dx read and written, for each connection and 16 samples or fewer.
void fused_backward(const Links& links, int width, const float* errors, const Gate& gate, const float* x,
                    float* dx, bool add, float* dw) noexcept;
/// The same with x in bfloat16, widened as it is read.
void fused_backward(const Links& links, int width, const float* errors, const Gate& gate,
                    const std::uint16_t* x, float* dx, bool add, float* dw) noexcept;

}  // namespace tulle::kernels
