#include "tulle/train/background_save.h"

#include <utility>

#include "tulle/base/check.h"

namespace tulle {

bool writes_meanwhile(const Config::Checkpoint& config, std::int64_t connections) {
  constexpr std::int64_t kFrom = std::int64_t{1} << 24;
  return config.background == "yes" || (config.background == "auto" && connections >= kFrom);
}

void BackgroundSave::start(Snapshot snapshot, const Done& of, FileOps& files) {
  require(!running(), "BackgroundSave: one at a time");
  done_ = of;
  error_ = nullptr;
  over_ = false;
  thread_ = std::jthread([this, &files, snapshot = std::move(snapshot)] {
    try {
      done_.bytes = snapshot.save(done_.path, files);
    } catch (...) {
      error_ = std::current_exception();
    }
    over_.store(true, std::memory_order_release);
  });
}

std::optional<BackgroundSave::Done> BackgroundSave::finished(bool wait) {
  if (!running() || (!wait && !over_.load(std::memory_order_acquire))) return std::nullopt;
  thread_.join();
  if (error_ != nullptr) std::rethrow_exception(std::exchange(error_, nullptr));
  return done_;
}

}  // namespace tulle
