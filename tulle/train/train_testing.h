#pragma once

// For tests only: a small problem that can be learnt, configs for it, and what a training says.

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tulle/base/parallel.h"
#include "tulle/base/random.h"
#include "tulle/checkpoint/model_testing.h"
#include "tulle/data/standardize.h"
#include "tulle/train/train.h"

namespace tulle::testing {

/// Three classes around three corners of a cube, in 12 features.
inline Split blobs(std::int64_t samples, std::uint64_t seed) {
  Split split;
  split.inputs = {.samples = samples, .features = 12, .bytes = {}, .floats = {}};
  const Random random{.seed = seed, .stream = Stream::kData};
  for (std::int64_t s = 0; s < samples; ++s) {
    const auto c = static_cast<std::int32_t>(s % 3);
    split.classes.push_back(c);
    for (std::int32_t f = 0; f < 12; ++f)
      split.inputs.floats.push_back((f % 3 == c ? 2.0f : 0.0f) +
                                    0.5f * random.normal(static_cast<std::uint64_t>(s * 12 + f)));
  }
  return split;
}

/// 52 samples: at batch size 16 the last of 4 batches is short.
inline Dataset small_data() {
  Dataset data;
  data.train = blobs(52, 1);
  data.test = blobs(20, 2);
  data.class_names = {"a", "b", "c"};
  data.scaling = fit_scaling("standard", data.train.inputs);
  return data;
}

/// 12-24-16-3 with about a third of the connections, dropout, an event after each epoch, no saving.
inline Config small_config() {
  Config config;
  config.run.name = "small";
  config.model.hidden = {24, 16};
  config.model.dropout = 0.2;
  config.topology.epsilon = 3.0;
  config.train.epochs = 3;
  config.train.batch_size = 16;
  config.train.learning_rate = 0.02;
  config.checkpoint.save_every = "never";
  return config;
}

/// What the training told, in order.
struct Diary : Observer {
  std::vector<Batch> batches;
  std::vector<EpochRecord> epochs;
  std::vector<EvolveRecord> events;
  std::vector<CheckpointRecord> saves;
  std::function<void(const Batch&)> at_batch = [](const Batch&) {};
  std::function<bool(const EpochRecord&)> at_epoch = [](const EpochRecord&) { return true; };

  void on_batch(const Batch& batch) override {
    batches.push_back(batch);
    at_batch(batch);
  }
  bool on_epoch(const EpochRecord& record) override {
    epochs.push_back(record);
    return at_epoch(record);
  }
  void on_evolve(const EvolveRecord& record) override { events.push_back(record); }
  void on_checkpoint(const CheckpointRecord& record) override { saves.push_back(record); }
};

/// train.ema_decay in doubles, of values that are told after each step.
struct ExpectedAverage {
  double decay;
  std::vector<double> values{};
  double step = 0.0;

  void add(const std::vector<float>& now) {
    if (values.empty()) values.assign(now.begin(), now.end());
    ++step;
    const double kept = std::min(decay, (1.0 + step) / (10.0 + step));
    for (std::size_t i = 0; i < now.size(); ++i) values[i] = kept * values[i] + (1.0 - kept) * now[i];
  }
};

using Bits = std::map<std::string, std::string>;

/// Trains to the end and returns all bits that came out.
inline Bits trained(Run run, const Dataset& data) {
  Observer nobody;
  Signals none;
  train(run, data, nullptr, nobody, none);
  return bits_of(run.model.network);
}

/// Syncing is tested elsewhere, and slow.
inline FileOps& hasty_file_ops() {
  static struct : FileOps {
    int fsync(int) override { return 0; }
  } files;
  return files;
}

/// Uses `threads` threads while it lives.
struct Threads {
  explicit Threads(int threads) { set_thread_count(threads); }
  ~Threads() { set_thread_count(0); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
};

inline std::string test_title(std::string_view name) {
  std::string text;
  for (const char c : name) text += c == '-' || c == '.' || c == ' ' ? '_' : c;
  return text;
}

}  // namespace tulle::testing
