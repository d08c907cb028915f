#include "tulle/base/parallel.h"

#include <omp.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <exception>

namespace tulle {
namespace {

int g_threads = 0;  // 0: as many as the process may run on

// Denormals cost a hundred cycles each; weights that decay towards zero would make epochs suddenly slow.
class FlushDenormals {
 public:
#if defined(__SSE2__)
  FlushDenormals() : saved_(_mm_getcsr()) {
    _mm_setcsr(saved_ | 0x8040u);
  }  // flush-to-zero, denormals-are-zero
  ~FlushDenormals() { _mm_setcsr(saved_); }
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  unsigned saved_;
#endif
};

}  // namespace

int thread_count() { return g_threads > 0 ? g_threads : omp_get_num_procs(); }

void set_thread_count(int threads) { g_threads = std::max(threads, 0); }

namespace detail {

void run_parts(int parts, void (*call)(void* body, int part), void* body) {
  std::exception_ptr failure;
  const int threads = std::min(parts, thread_count());
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (int part = 0; part < parts; ++part) {
    try {
      const FlushDenormals flush;
      call(body, part);
    } catch (...) {
#pragma omp critical(tulle_parallel_failure)
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace detail

Range even_range(std::int64_t count, int parts, int part, std::int64_t grain) {
  const std::int64_t grains = (count + grain - 1) / grain;
  return {std::min(count, grains * part / parts * grain),
          std::min(count, grains * (part + 1) / parts * grain)};
}

std::vector<std::int64_t> balanced_rows(std::span<const std::int64_t> row_ptr, int parts) {
  const auto rows = static_cast<std::int64_t>(row_ptr.size()) - 1;
  std::vector<std::int64_t> bounds(static_cast<std::size_t>(parts) + 1, rows);
  bounds[0] = 0;
  // A row costs its connections plus a little for its own store, so that empty rows are shared out too.
  const auto cost = [&](std::int64_t row) { return row_ptr[static_cast<std::size_t>(row)] + row; };
  for (int part = 1; part < parts; ++part) {
    const std::int64_t wanted = cost(rows) * part / parts;
    std::int64_t low = bounds[static_cast<std::size_t>(part) - 1], high = rows;
    while (low < high) {
      const std::int64_t middle = (low + high) / 2;
      if (cost(middle) < wanted)
        low = middle + 1;
      else
        high = middle;
    }
    bounds[static_cast<std::size_t>(part)] = low;
  }
  return bounds;
}

}  // namespace tulle
