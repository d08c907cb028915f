#include "tulle/base/parallel.h"

#include <pthread.h>
#include <unistd.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

#include "tulle/base/thread_pool.h"

namespace tulle {

namespace detail {
struct Team {
  int threads;
  ThreadPool pool{};
};
}  // namespace detail

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

// Never destroyed: its threads end with the process. A forked child, who has none of them, gets a new one.
ThreadPool* g_pool = nullptr;

// The team of the replica that this thread works for; null: that of the process.
thread_local detail::Team* t_team = nullptr;

ThreadPool& pool() {
  static std::once_flag once;
  std::call_once(once, [] {
    g_pool = new ThreadPool;
    pthread_atfork(nullptr, nullptr, [] { g_pool = new ThreadPool; });
  });
  return *g_pool;
}

}  // namespace

int available_cores() {
  // libstdc++ counts those that this process may run on; 0 means it does not know.
  static const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  return cores;
}

int online_cores() { return std::max(1, static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN))); }

int thread_count() {
  if (t_team != nullptr) return t_team->threads;
  return g_threads > 0 ? g_threads : available_cores();
}

void set_thread_count(int threads) { g_threads = std::max(threads, 0); }

OwnThreads::OwnThreads(int threads)
    : team_(new detail::Team{std::max(threads, 1)}), before_(std::exchange(t_team, team_.get())) {}
OwnThreads::~OwnThreads() { t_team = before_; }

namespace detail {

void run_parts(int parts, void (*call)(void* body, int part), void* body) {
  const int team = std::max(1, std::min(parts, thread_count()));
  std::mutex failing;
  std::exception_ptr failure;
  int failed = parts;  // the lowest that did
  Team* const own = t_team;
  const auto work = [&](int member) {
    const FlushDenormals flush;
    t_team = own;  // for what a part starts in its turn
    for (int part = parts * member / team; part < parts * (member + 1) / team; ++part) {
      try {
        call(body, part);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(failing);
        if (part < failed) failed = part, failure = std::current_exception();
      }
    }
  };
  (own != nullptr ? own->pool : pool())
      .run(team, std::ref(work));  // std::ref: a function that is not copied to the heap
  if (failure) std::rethrow_exception(failure);
}

}  // namespace detail

Range even_range(std::int64_t count, int parts, int part, std::int64_t grain) {
  const std::int64_t grains = (count + grain - 1) / grain;
  return {std::min(count, grains * part / parts * grain),
          std::min(count, grains * (part + 1) / parts * grain)};
}

std::vector<std::int64_t> balanced_rows(std::span<const std::int64_t> row_ptr, int parts) {
  return balanced_rows({0, static_cast<std::int64_t>(row_ptr.size()) - 1}, parts,
                       [&](std::int64_t row) { return row_ptr[static_cast<std::size_t>(row)]; });
}

std::vector<std::int64_t> balanced_rows(Range rows, int parts,
                                        const std::function<std::int64_t(std::int64_t)>& begin_of) {
  std::vector<std::int64_t> bounds(static_cast<std::size_t>(parts) + 1, rows.end);
  bounds[0] = rows.begin;
  // A row costs its connections plus a little for its own store, so that empty rows are shared out too.
  const std::int64_t first = begin_of(rows.begin);
  const auto cost = [&](std::int64_t row) { return begin_of(row) - first + row - rows.begin; };
  for (int part = 1; part < parts; ++part) {
    const std::int64_t wanted = cost(rows.end) * part / parts;
    std::int64_t low = bounds[static_cast<std::size_t>(part) - 1], high = rows.end;
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
