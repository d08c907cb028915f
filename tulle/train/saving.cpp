#include "tulle/train/saving.h"

#include <utility>

#include "tulle/base/check.h"
#include "tulle/report/memory.h"
#include "tulle/train/build.h"

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

void CheckpointWriter::save() {
  const Clock clock;
  settle(/*wait=*/true);
  BackgroundSave::Done done{.path = directory_.checkpoint_path(run_.state.step), .step = run_.state.step};
  if (saves_in_background()) {
    Snapshot snapshot(run_.model, &run_.state);
    done.seconds = clock.seconds();
    save_.start(std::move(snapshot), done, directory_.files());
  } else {
    done.bytes = save_model(done.path, run_.model, &run_.state, directory_.files());
    done.seconds = clock.seconds();
    tell(done);
  }
  since_save_.restart();
}

bool CheckpointWriter::save(
    const std::function<std::optional<std::int64_t>(const std::string& path)>& write) {
  const Clock clock;
  settle(/*wait=*/true);
  BackgroundSave::Done done{.path = directory_.checkpoint_path(run_.state.step), .step = run_.state.step};
  const std::optional<std::int64_t> bytes = write(done.path);
  if (!bytes) return false;
  done.bytes = *bytes;
  done.seconds = clock.seconds();
  tell(done);
  since_save_.restart();
  return true;
}

// Only where the copy leaves as much memory as it takes.
bool CheckpointWriter::saves_in_background() const {
  if (!run_.spill.empty() || spreads_neurons(run_.config) ||
      !writes_meanwhile(run_.config.checkpoint, run_.model.network.connections()))
    return false;
  return available_bytes() == 0 || available_bytes() > 2 * Snapshot::bytes_of(run_.model, &run_.state);
}

void CheckpointWriter::settle(bool wait) {
  if (const auto done = save_.finished(wait)) tell(*done);
}

void CheckpointWriter::tell(const BackgroundSave::Done& done) {
  directory_.prune(done.step, static_cast<int>(run_.config.checkpoint.keep));
  told_({.step = done.step, .path = done.path, .bytes = done.bytes, .seconds = done.seconds});
}

}  // namespace tulle
