#pragma once

#include <cstdint>
#include <memory>

namespace tulle::kernels {

/// C = op(A) op(B) + (add ? C : 0), row-major, op = transpose or nothing. One thread: callers split the work
/// into tiles that do not depend on the thread count. Shapes: op(A) m x k, op(B) k x n, C m x n; a_stride,
/// b_stride, c_stride are the row lengths in memory. Built on oneDNN, or on a plain loop in builds without it
/// (gemm_onednn.cpp, gemm_plain.cpp).
void gemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const float* a,
          std::int64_t a_stride, const float* b, std::int64_t b_stride, bool add, float* c,
          std::int64_t c_stride) noexcept;

/// Around several products of one thread: what each of them would set up anew is set up once. Signals wait
/// until it is gone.
class ProductScope {
 public:
  ProductScope() noexcept;
  ~ProductScope();
  ProductScope(const ProductScope&) = delete;
  ProductScope& operator=(const ProductScope&) = delete;
};

/// The right-hand matrix of many products, laid out once in the order in which they read it. Products may run
/// on several threads at once, each one whole on its caller's thread; pack() may not run beside them.
class PackedMatrix {
 public:
  /// Of k x n values, all 0. bf16: values of both sides are rounded to bfloat16, sums stay floats.
  PackedMatrix(std::int64_t k, std::int64_t n, bool bf16 = false);
  PackedMatrix(PackedMatrix&&) noexcept;
  ~PackedMatrix();

  /// Takes the values of b: k x n row-major with rows `stride` apart, or n x k if `transposed`. Cost: one
  /// read, one write.
  void pack(const float* b, std::int64_t stride, bool transposed);
  /// C = A B + (add ? C : 0). Shapes: A m x k, C m x n, row-major.
  void multiply(std::int64_t m, const float* a, std::int64_t a_stride, bool add, float* c,
                std::int64_t c_stride) const;
  std::int64_t rows() const { return k_; }
  std::int64_t columns() const { return n_; }

 private:
  struct Layout;
  std::int64_t k_, n_;
  std::unique_ptr<Layout> layout_;
};

/// "oneDNN" or "plain": dense comparisons name it.
const char* gemm_library() noexcept;

}  // namespace tulle::kernels
