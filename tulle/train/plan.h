#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tulle/data/dataset.h"
#include "tulle/nn/storage.h"
#include "tulle/train/config.h"
#include "tulle/train/forecast.h"
#include "tulle/train/machine_rates.h"

namespace tulle {

/// What a training of a multilayer perceptron will need, before any of it is taken.
struct Plan {
  struct Item {
    std::string name;
    std::int64_t bytes;
  };

  Storage storage = Storage::kFast;
  std::int64_t neurons = 0;  // without the inputs
  std::int64_t connections = 0;
  std::vector<Item> items;  // what is there at the same time, at its most; of all replicas in this process
  std::int64_t data_bytes = 0;  // of these: is there already

  /// Where connections lie in files because the limit would not hold them: run.spill, the bytes that lie
  /// there, and those that each step reads and writes.
  std::string spill{};
  std::int64_t spilled = 0, read = 0, written = 0;

  std::int64_t total() const;
  /// "weights 1.20 GB, ..., in all 5.64 GB".
  std::string text() const;
};

/// Real peaks are within 5 % and 64 MB. With run.spill, a plan that memory_limit() does not hold is made anew
/// with the connections in files. Where parallel.mode is rows, the plan is that of the parts in this process:
/// one of `ranks`, or those of parallel.ranks. Throws tulle::Error (kConfig) for networks that it does not
/// know.
Plan make_plan(const Config& config, const Dataset& data, int ranks = 1);

/// What the network of such a training shares with other ranks: arrays, states, largest_layer, layers and
/// lanes of a task.
RankTask rank_task(const Config& config, const Dataset& data);

/// The largest batch size whose plan needs no more than `limit` bytes; 0 if none.
std::int64_t largest_batch(Config config, const Dataset& data, std::int64_t limit, int ranks = 1);

/// Seconds a training step of such a plan will take, from what this machine's memory does now: lines read at
/// random and bytes in order, and what a product does whose activations stay in caches; where connections
/// lie in files, also what their disk takes. Right within a quarter where nothing else runs. Memory: up
/// to 1 GiB for a second. Source of the form: docs/scale.md.
/// `rates` keeps what it measured, for several plans.
double predicted_step_seconds(const Config& config, const Dataset& data, const Plan& plan,
                              const MachineRates& rates = {});

/// The bytes that run.memory_limit allows: what it says, or 95 % of what is available beside the data that
/// are there; negative: any number. Throws tulle::Error (kConfig) for text that is not that.
std::int64_t memory_limit(const Config& config, const Plan& plan);

/// Plan::spill, which costs a plan only where run.spill is given.
std::string spill_of(const Config& config, const Dataset& data);

/// Throws tulle::Error (kMemory) with the plan if it needs more than memory_limit(). `ranks` as for
/// make_plan().
void check_plan(const Config& config, const Dataset& data, int ranks = 1);

}  // namespace tulle
