#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

namespace tulle {

/// Pieces of work that a thread of its own does beside everything else, until somebody waits for them: then
/// all threads do what is left. Which thread does a piece depends on the moment, so what pieces write must
/// not depend on each other.
class WorkAhead {
 public:
  WorkAhead() = default;
  ~WorkAhead() { drop(); }
  WorkAhead(const WorkAhead&) = delete;
  WorkAhead& operator=(const WorkAhead&) = delete;

  /// Begins to call piece(0) to piece(count - 1), each once, denormals flushed to zero as in
  /// parallel_parts(). What was begun before must be over. Throws std::system_error if no thread can be
  /// started.
  void start(std::int64_t count, std::function<void(std::int64_t)> piece);
  /// Returns when all have been called. Throws the exception of the first piece, by number, that threw one.
  void finish();
  /// Leaves away the pieces that have not begun, and what others threw.
  void drop();

 private:
  void work();

  std::int64_t count_ = 0;
  std::function<void(std::int64_t)> piece_;
  std::atomic<std::int64_t> next_{0};
  std::mutex failing_;
  std::int64_t failed_ = 0;  // the first piece that threw
  std::exception_ptr failure_;
  std::thread thread_;
};

}  // namespace tulle
