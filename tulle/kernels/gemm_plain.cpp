#include "tulle/kernels/gemm.h"

namespace tulle::kernels {

void gemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const float* a,
          std::int64_t a_stride, const float* b, std::int64_t b_stride, bool add, float* c,
          std::int64_t c_stride) noexcept {
  for (std::int64_t i = 0; i < m; ++i) {
    float* row = c + i * c_stride;
    if (!add)
      for (std::int64_t j = 0; j < n; ++j) row[j] = 0.0f;
    if (transpose_b) {
      for (std::int64_t j = 0; j < n; ++j) {
        float sum = 0.0f;
        for (std::int64_t l = 0; l < k; ++l)
          sum += (transpose_a ? a[l * a_stride + i] : a[i * a_stride + l]) * b[j * b_stride + l];
        row[j] += sum;
      }
      continue;
    }
    for (std::int64_t l = 0; l < k; ++l) {
      const float factor = transpose_a ? a[l * a_stride + i] : a[i * a_stride + l];
      for (std::int64_t j = 0; j < n; ++j) row[j] += factor * b[l * b_stride + j];
    }
  }
}

const char* gemm_library() noexcept { return "plain"; }

}  // namespace tulle::kernels
