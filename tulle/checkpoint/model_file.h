#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tulle/base/file_ops.h"
#include "tulle/checkpoint/model.h"
#include "tulle/sparse/cell_scores.h"
#include "tulle/sparse/cell_set.h"

namespace tulle {

/// What a training has seen of its validation data. Epochs count from 1; 0: none yet.
struct ValidationState {
  double best_loss = 0.0;
  std::int64_t best_loss_epoch = 0;
  double best_score = 0.0;         // of checkpoint.best, higher is better
  std::int64_t best_epoch = 0;     // whose model is kept
  std::int64_t reduced_epoch = 0;  // schedule plateau: after which the rate last fell
  double rate_factor = 1.0;        // what plateaus have made of the rate
};

/// How much of the topology the last events left as it was.
struct StabilityState {
  std::vector<std::int64_t> connections, survivors;  // before each event, and of these after it; oldest first
  std::int64_t stable_step = 0;                      // after which the topology stays; 0: it does not
};

/// Where a training stands between two steps. Random numbers need no state: they are keyed by these counters.
struct TrainingState {
  std::int64_t epoch = 0;           // completed epochs
  std::int64_t batch_in_epoch = 0;  // completed batches of the epoch at work
  std::int64_t step = 0;            // optimizer steps taken
  double loss_sum = 0.0;            // over the samples of the epoch at work, for its report
  std::int64_t correct = 0;
  std::int64_t samples = 0;
  double seconds = 0.0;       // training time so far
  std::string data_identity;  // hash of the training data
  ValidationState validation;
  /// What each layer has explored; of 0 cells where it does not evolve, empty if none does.
  std::vector<CellSet> explored;
  StabilityState stability;
  /// What each layer has gathered for the topology event to come; empty: none has.
  std::vector<CellScores> gathered;
};

/// Writes a model file, or with `state` a checkpoint: the model plus optimizer state and counters. The format
/// is described in docs/model_format.md; the file appears whole or not at all (atomic_file.h). Returns its
/// size in bytes. Throws tulle::Error when it cannot be written.
std::int64_t save_model(const std::string& path, Model& model, const TrainingState* state = nullptr,
                        FileOps& files = real_file_ops());

/// The bytes of that file. Memory: as many, and what they are made from.
std::vector<std::byte> model_bytes(Model& model, const TrainingState* state = nullptr);

/// What save_model() would write, apart from the network: the file can be written by another thread while the
/// network goes on. Memory: as much as the file.
class Snapshot {
 public:
  /// Cost: one copy of all arrays, in parallel.
  explicit Snapshot(Model& model, const TrainingState* state = nullptr);
  Snapshot(Snapshot&&) noexcept;
  ~Snapshot();

  /// As save_model().
  std::int64_t save(const std::string& path, FileOps& files = real_file_ops()) const;

  /// Memory that a snapshot would take.
  static std::int64_t bytes_of(Model& model, const TrainingState* state = nullptr);

 private:
  struct Copy;
  std::unique_ptr<Copy> copy_;
};

struct LoadedModel {
  Model model;
  std::optional<TrainingState> state;  // set if the file is a checkpoint
  bool checksummed = false;            // false: written by another program, content unchecked
};

/// Reads a model file or checkpoint. Everything is validated here once, so that inner loops need no checks:
/// sizes, checksums, layer chain, row pointers, column indices. Throws tulle::Error: kMissingInput,
/// kPermission, or kBadData naming file, tensor, found and expected. `storage`: of a chain's sparse layers,
/// as far as their dtype allows. Weights in bfloat16 become floats; with `keep_bf16` they stay what they are
/// in compact layers.
LoadedModel load_model(const std::string& path, Storage storage = Storage::kFast, bool keep_bf16 = false);
/// The same for bytes that are in memory; `name` stands for the file in messages.
LoadedModel parse_model(std::vector<std::byte> bytes, const std::string& name,
                        Storage storage = Storage::kFast, bool keep_bf16 = false);

/// Hash of a training set (shape, features, labels), to refuse resuming on other data. Cost: one pass over
/// the data.
std::string data_identity(const Split& train);

}  // namespace tulle
