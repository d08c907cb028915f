#include "tulle/base/work_ahead.h"

#include <utility>

#include "tulle/base/check.h"
#include "tulle/base/parallel.h"

namespace tulle {

void WorkAhead::start(std::int64_t count, std::function<void(std::int64_t)> piece) {
  require(!thread_.joinable(), "WorkAhead: what was begun before must be over");
  count_ = count;
  piece_ = std::move(piece);
  next_ = 0;
  failure_ = nullptr;
  thread_ = std::thread([this] {
    const OwnThreads alone(1);  // the others are at something else
    parallel_parts(1, [this](int) { work(); });
  });
}

void WorkAhead::work() {
  for (std::int64_t i; (i = next_.fetch_add(1)) < count_;) {
    try {
      piece_(i);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(failing_);
      if (failure_ == nullptr || i < failed_) failed_ = i, failure_ = std::current_exception();
    }
  }
}

void WorkAhead::finish() {
  if (next_ < count_) parallel_parts(thread_count(), [this](int) { work(); });
  if (thread_.joinable()) thread_.join();
  if (failure_ != nullptr) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void WorkAhead::drop() {
  next_ = count_;
  if (thread_.joinable()) thread_.join();
  failure_ = nullptr;
}

}  // namespace tulle
