#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace tulle {

/// Threads that stay, and wait for work: first awake, for two milliseconds, as the next kernel of a training
/// follows within a few microseconds (after 20 of them they offer their core to anyone else who wants it);
/// then asleep. Nobody waits for a thread that has not begun: the caller does its work.
class ThreadPool {
 public:
  /// Called as member(0) to member(count - 1) of a team, each on its own thread.
  using Task = std::function<void(int member)>;

  ThreadPool() = default;
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// Runs a team of `count` members, the calling thread as member 0 and in place of those whose thread has
  /// not begun when it is through, and returns when all are done. While another call runs (on another thread,
  /// or this one from within a task), all members run on the calling thread, one after the other. `task` must
  /// not throw. Threads are started when they are first needed; throws std::system_error if they cannot be.
  void run(int count, const Task& task);

 private:
  struct Worker {
    std::atomic<std::uint32_t> turn{0};  // odd: a task waits to be taken
    std::thread thread;
  };

  void start_workers(std::size_t count);
  void work(int member, Worker& self);
  static bool take(Worker& worker);
  template <class Condition>
  void wait_awake(const Condition& over) const;

  std::mutex busy_;
  std::vector<std::unique_ptr<Worker>> workers_;
  const Task* task_ = nullptr;  // null: the end
  std::atomic<int> at_work_{0};
  std::atomic<bool> crowded_{false};  // more members than cores: waiting awake would only be in the way
};

}  // namespace tulle
