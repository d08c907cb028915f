// Eigen and LIBXSMM behind C functions, for peers.py: it compiles this file for the machine at hand
// (-march=native, which no file of the engine may be), loads it and calls it. Y = W X, W in CSR, X and Y
// [feature][sample].
#include <Eigen/Dense>
#include <Eigen/SparseCore>
#include <cstdint>
#include <vector>

#if __has_include(<libxsmm.h>)
#include <libxsmm.h>
#include <omp.h>
#endif

namespace {

using Dense = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Sparse = Eigen::SparseMatrix<float, Eigen::RowMajor>;

}  // namespace

extern "C" {

void eigen_forward(int inputs, int outputs, int batch, int nnz, const int* row_ptr, const int* columns,
                   const float* values, const float* x, float* y) {
  const Eigen::Map<const Sparse> w(outputs, inputs, nnz, row_ptr, columns, values);
  const Eigen::Map<const Dense> inputs_of(x, inputs, batch);
  Eigen::Map<Dense> result(y, outputs, batch);
  result.noalias() = w * inputs_of;
}

#ifdef LIBXSMM_CONFIG_H
struct Spmdm {
  libxsmm_spmdm_handle handle;
  libxsmm_CSR_sparseslice* slices;
  int threads;
};

// From a dense matrix, as it wants it; not timed.
void* spmdm_make(int inputs, int outputs, int batch, int threads, const float* dense) {
  auto* const made = new Spmdm{{}, nullptr, threads};
  libxsmm_spmdm_init(outputs, batch, inputs, threads, &made->handle, &made->slices);
  for (int block = 0; block < libxsmm_spmdm_get_num_createSparseSlice_blocks(&made->handle); ++block)
    libxsmm_spmdm_createSparseSlice_fp32_thread(&made->handle, 'N', dense, made->slices, block, 0, 1);
  return made;
}

void spmdm_forward(void* spmdm, const float* x, float* y) {
  auto* const made = static_cast<Spmdm*>(spmdm);
  const float one = 1.0f, zero = 0.0f;
  const int blocks = libxsmm_spmdm_get_num_compute_blocks(&made->handle);
#pragma omp parallel for num_threads(made->threads) schedule(static)
  for (int block = 0; block < blocks; ++block)
    libxsmm_spmdm_compute_fp32_thread(&made->handle, 'N', 'N', &one, made->slices, x, 'N', &zero, y, block,
                                      omp_get_thread_num(), made->threads);
}

void spmdm_free(void* spmdm) {
  auto* const made = static_cast<Spmdm*>(spmdm);
  libxsmm_spmdm_destroy(&made->handle);
  delete made;
}
#endif
}
