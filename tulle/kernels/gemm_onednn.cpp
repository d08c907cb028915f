#include <dnnl.h>
#include <omp.h>
#include <pthread.h>

#include <algorithm>
#include <csignal>
#include <string>

#include "tulle/kernels/gemm.h"
#include "tulle/kernels/targets.h"

namespace tulle::kernels {
namespace {

// oneDNN takes its limit once, before its first use; TULLE_ISA counts there too.
void limit_instruction_set() noexcept {
  const std::string target = current_target();
  dnnl_cpu_isa_t limit = dnnl_cpu_isa_all;
  if (target == "avx2") limit = dnnl_cpu_isa_avx2;
  if (target == "sse4" || target == "ssse3" || target == "scalar") limit = dnnl_cpu_isa_sse41;
  dnnl_set_max_cpu_isa(limit);
}

// Until version 3.11 oneDNN's products keep the stack pointer in their workspace on the heap (oneDNN issue
// 4845): a signal handler that runs on this thread would overwrite what lies there. Signals wait until the
// product is done.
class SignalsWait {
 public:
  SignalsWait() noexcept {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsWait() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsWait(const SignalsWait&) = delete;
  SignalsWait& operator=(const SignalsWait&) = delete;

 private:
  sigset_t before_;
};

}  // namespace

void gemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, const float* a,
          std::int64_t a_stride, const float* b, std::int64_t b_stride, bool add, float* c,
          std::int64_t c_stride) noexcept {
  static const bool limited = (limit_instruction_set(), true);
  (void)limited;
  if (k == 0) {  // oneDNN leaves C as it was
    if (!add)
      for (std::int64_t i = 0; i < m; ++i) std::fill_n(c + i * c_stride, n, 0.0f);
    return;
  }
  // Outside a parallel region oneDNN would start its own threads, and its sums depend on their number.
  const int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  const SignalsWait signals_wait;
  dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k, 1.0f, a, a_stride, b, b_stride,
             add ? 1.0f : 0.0f, c, c_stride);
  omp_set_num_threads(threads);
}

const char* gemm_library() noexcept { return "oneDNN"; }

}  // namespace tulle::kernels
