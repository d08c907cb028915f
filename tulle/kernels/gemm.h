#pragma once

#include <cstdint>

namespace tulle::kernels {

/// C = op(A) op(B) + (add ? C : 0), row-major, op = transpose or nothing. One thread: callers split the work
/// into tiles that do not depend on the thread count. Shapes: op(A) m x k, op(B) k x n, C m x n; a_stride,
/// b_stride, c_stride are the row lengths in memory. Built on oneDNN, or on a plain loop in builds without it
/// (gemm_onednn.cpp, gemm_plain.cpp).
void gemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const float* a,
          std::int64_t a_stride, const float* b, std::int64_t b_stride, bool add, float* c,
          std::int64_t c_stride) noexcept;

/// "oneDNN" or "plain": dense comparisons name it.
const char* gemm_library() noexcept;

}  // namespace tulle::kernels
