#pragma once

// For tests only: a small data set, configs for it, and comparison of trainings bit for bit.

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "tulle/base/random.h"
#include "tulle/train/train.h"

namespace tulle::testing {

/// Three classes of 12 features around centres that lie apart; 70 training and 33 test samples.
inline Dataset small_dataset(std::uint64_t seed = 1) {
  const auto make = [seed](std::int64_t samples, std::uint32_t event) {
    Split split;
    split.inputs = {.samples = samples, .features = 12, .bytes = {}, .floats = {}};
    const Random random{.seed = seed, .stream = Stream::kData, .event = event};
    for (std::int64_t i = 0; i < samples; ++i) {
      const auto label = static_cast<std::int32_t>(i % 3);
      split.classes.push_back(label);
      for (int f = 0; f < 12; ++f)
        split.inputs.floats.push_back(0.7f * random.normal(static_cast<std::uint64_t>(12 * i + f)) +
                                      (f % 3 == label ? 1.5f : 0.0f));
    }
    return split;
  };
  Dataset data;
  data.train = make(70, 0);
  data.test = make(33, 1);
  data.class_names = {"a", "b", "c"};
  return data;
}

/// A net whose first two layers are sparse and whose last is dense; five epochs with a topology event after
/// each.
inline Config small_config() {
  Config config;
  config.model.hidden = {20, 16};
  config.topology.epsilon = 4.0;
  config.train.epochs = 5;
  config.train.batch_size = 16;
  config.train.learning_rate = 0.01;
  config.checkpoint.save_every = "never";
  finish_config(config);
  return config;
}

/// Everything that a training has learnt and remembers, as bytes.
inline std::string state_of(Run& run) {
  std::string bytes;
  const auto add = [&](const auto& values) {
    bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(values[0]));
    bytes += '|';
  };
  for (std::size_t l = 0; l < run.model.network.size(); ++l)
    if (const Topology* topology = run.model.network.layer(l).topology()) {
      add(topology->row_ptr());
      add(topology->columns());
    }
  for (const Parameter* p : run.model.network.parameters()) {
    add(p->value);
    add(p->m1);
    add(p->m2);
    add(p->age);
  }
  return bytes;
}

/// Keeps every record; stops after `stop_after` batches, or when the training's own on_epoch says so.
class Witness : public Observer {
 public:
  void on_batch(const Batch& batch) override {
    batches.push_back(batch);
    if (signals != nullptr && static_cast<std::int64_t>(batches.size()) == stop_after) signals->stop = true;
  }
  bool on_epoch(const EpochRecord& record) override {
    epochs.push_back(record);
    return static_cast<std::int64_t>(epochs.size()) != last_epoch;
  }
  void on_evolve(const EvolveRecord& record) override { events.push_back(record); }
  void on_checkpoint(const CheckpointRecord& record) override { checkpoints.push_back(record); }

  Signals* signals = nullptr;
  std::int64_t stop_after = -1, last_epoch = -1;
  std::vector<Batch> batches;
  std::vector<EpochRecord> epochs;
  std::vector<EvolveRecord> events;
  std::vector<CheckpointRecord> checkpoints;
};

struct Finished {
  Run run;
  Witness witness;
  Ending ending = Ending::kFinished;
};

/// A whole training in memory.
inline Finished train_whole(const Config& config, const Dataset& data) {
  Finished finished{start_run(config, data), {}};
  Signals signals;
  finished.ending = train(finished.run, data, nullptr, finished.witness, signals);
  return finished;
}

}  // namespace tulle::testing
