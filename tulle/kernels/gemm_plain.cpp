#include "tulle/kernels/gemm.h"

#include <algorithm>

#include "tulle/base/aligned.h"
#include "tulle/kernels/narrow.h"

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

ProductScope::ProductScope() noexcept = default;
ProductScope::~ProductScope() = default;

struct PackedMatrix::Layout {
  bool bf16;
  AlignedVector<float> values;
};

PackedMatrix::PackedMatrix(std::int64_t k, std::int64_t n, bool bf16)
    : k_(k), n_(n), layout_(new Layout{bf16, AlignedVector<float>(static_cast<std::size_t>(k * n))}) {}
PackedMatrix::PackedMatrix(PackedMatrix&&) noexcept = default;
PackedMatrix::~PackedMatrix() = default;

void PackedMatrix::pack(const float* b, std::int64_t stride, bool transposed) {
  float* const values = layout_->values.data();
  for (std::int64_t l = 0; l < k_; ++l)
    for (std::int64_t j = 0; j < n_; ++j)
      values[l * n_ + j] = transposed ? b[j * stride + l] : b[l * stride + j];
  if (layout_->bf16) round_to_bf16(values, k_ * n_, values);
}

void PackedMatrix::multiply(std::int64_t m, const float* a, std::int64_t a_stride, bool add, float* c,
                            std::int64_t c_stride) const {
  thread_local AlignedVector<float> rounded;
  if (layout_->bf16) {
    rounded.resize(std::max(rounded.size(), static_cast<std::size_t>(m * k_)));
    for (std::int64_t i = 0; i < m; ++i) round_to_bf16(a + i * a_stride, k_, rounded.data() + i * k_);
    a = rounded.data();
    a_stride = k_;
  }
  gemm(false, false, m, n_, k_, a, a_stride, layout_->values.data(), n_, add, c, c_stride);
}

const char* gemm_library() noexcept { return "plain"; }

}  // namespace tulle::kernels
