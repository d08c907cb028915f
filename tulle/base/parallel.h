#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace tulle {

/// The processor cores that this process may run on.
int available_cores();
/// The processor cores of this machine.
int online_cores();
/// How many threads parallel_parts() uses; at the start as many as this process may run on.
int thread_count();
/// 0 means as many as this process may run on.
void set_thread_count(int threads);

namespace detail {
struct Team;
}

/// While it lives, parallel work of the thread that made it runs on `threads` threads of its own (at least
/// this one), beside what other threads of the process do: for several replicas of a network in one process.
class OwnThreads {
 public:
  explicit OwnThreads(int threads);
  ~OwnThreads();
  OwnThreads(const OwnThreads&) = delete;
  OwnThreads& operator=(const OwnThreads&) = delete;

 private:
  std::unique_ptr<detail::Team> team_;
  detail::Team* before_;
};

namespace detail {
void run_parts(int parts, void (*call)(void* body, int part), void* body);
}

/// body(part) for every part in [0, parts), each on one thread, the parts dealt out statically. This is the
/// only way to run in parallel outside comm/ and train/: parts own what they write, so results cannot depend
/// on the thread count. Called from several threads at once, or from within a part, all parts but those of
/// the first call run on their caller's thread. An exception of a part reaches the caller after all parts are
/// done. Inside, denormals are flushed to zero.
template <class Body>
void parallel_parts(int parts, Body&& body) {
  detail::run_parts(
      parts, [](void* object, int part) { (*static_cast<std::remove_reference_t<Body>*>(object))(part); },
      &body);
}

/// A half-open range of rows, columns or elements.
struct Range {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

/// The part-th of `parts` nearly equal contiguous pieces of [0, count), cut at multiples of `grain`.
Range even_range(std::int64_t count, int parts, int part, std::int64_t grain = 1);

/// Cuts rows into `parts` contiguous ranges with nearly equal numbers of connections (`row_ptr` as in CSR).
/// Returns parts + 1 row indices. Cost: O(parts log rows).
std::vector<std::int64_t> balanced_rows(std::span<const std::int64_t> row_ptr, int parts);
/// The same for some rows whose connections begin at begin_of(row).
std::vector<std::int64_t> balanced_rows(Range rows, int parts,
                                        const std::function<std::int64_t(std::int64_t)>& begin_of);

/// body(range) over [0, count) in one even piece per thread, cut at multiples of `grain`: the least that is
/// worth a thread.
template <class Body>
void parallel_ranges(std::int64_t count, std::int64_t grain, Body&& body) {
  const auto parts = static_cast<int>(std::min<std::int64_t>(thread_count(), (count + grain - 1) / grain));
  parallel_parts(parts, [&](int part) {
    const Range range = even_range(count, parts, part, grain);
    if (range.begin < range.end) body(range);
  });
}

}  // namespace tulle
