#include "tulle/base/thread_pool.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include <chrono>

#include "tulle/base/parallel.h"

namespace tulle {
namespace {

// Who sleeps wakes up late, on a core that slept too; a training step has a dozen tasks, milliseconds apart
// at most.
constexpr auto kAwake = std::chrono::milliseconds(2);
constexpr auto kAlert = std::chrono::microseconds(20);  // then anyone else who wants the core may have it

void pause() {
#if defined(__SSE2__)
  _mm_pause();
#endif
}

}  // namespace

ThreadPool::~ThreadPool() {
  task_ = nullptr;
  for (const auto& worker : workers_) {
    worker->turn.fetch_add(1, std::memory_order_release);
    worker->turn.notify_one();
    worker->thread.join();
  }
}

void ThreadPool::start_workers(std::size_t count) {
  while (workers_.size() < count) {
    auto worker = std::make_unique<Worker>();
    const int member = static_cast<int>(workers_.size()) + 1;
    worker->thread = std::thread([this, member, self = worker.get()] { work(member, *self); });
    workers_.push_back(std::move(worker));
  }
}

template <class Condition>
void ThreadPool::wait_awake(const Condition& over) const {
  if (crowded_.load(std::memory_order_relaxed)) return;
  const auto start = std::chrono::steady_clock::now();
  for (auto waited = start - start; waited < kAwake; waited = std::chrono::steady_clock::now() - start) {
    if (waited > kAlert) std::this_thread::yield();
    for (int i = 0; i < 16; ++i) {
      if (over()) return;
      pause();
    }
  }
}

// Whether the task that waits for the worker is now the caller's to do.
bool ThreadPool::take(Worker& worker) {
  std::uint32_t turn = worker.turn.load(std::memory_order_acquire);
  return turn % 2 == 1 && worker.turn.compare_exchange_strong(turn, turn + 1, std::memory_order_acq_rel);
}

void ThreadPool::work(int member, Worker& self) {
  for (;;) {
    wait_awake([&] { return self.turn.load(std::memory_order_acquire) % 2 == 1; });
    const std::uint32_t turn = self.turn.load(std::memory_order_acquire);
    if (turn % 2 == 0) self.turn.wait(turn, std::memory_order_acquire);
    if (!take(self)) continue;
    if (task_ == nullptr) return;
    (*task_)(member);
    if (at_work_.fetch_sub(1, std::memory_order_acq_rel) == 1) at_work_.notify_one();
  }
}

void ThreadPool::run(int count, const Task& task) {
  const std::unique_lock<std::mutex> alone(busy_, std::try_to_lock);
  if (count <= 1 || !alone.owns_lock()) {
    for (int member = 0; member < count; ++member) task(member);
    return;
  }
  const auto helpers = static_cast<std::size_t>(count) - 1;
  start_workers(helpers);
  crowded_.store(count > available_cores(), std::memory_order_relaxed);
  task_ = &task;
  at_work_.store(static_cast<int>(helpers), std::memory_order_relaxed);
  for (std::size_t i = 0; i < helpers; ++i) {
    workers_[i]->turn.fetch_add(1, std::memory_order_release);
    workers_[i]->turn.notify_one();
  }
  task(0);
  for (std::size_t i = 0; i < helpers; ++i) {
    if (!take(*workers_[i])) continue;
    task(static_cast<int>(i) + 1);
    at_work_.fetch_sub(1, std::memory_order_acq_rel);
  }
  wait_awake([&] { return at_work_.load(std::memory_order_acquire) == 0; });
  for (int left = 0; (left = at_work_.load(std::memory_order_acquire)) != 0;)
    at_work_.wait(left, std::memory_order_acquire);
}

}  // namespace tulle
