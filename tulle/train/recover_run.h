#pragma once

#include <atomic>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "tulle/checkpoint/run_directory.h"
#include "tulle/recover/recovery.h"
#include "tulle/recover/task.h"
#include "tulle/train/config.h"

namespace tulle {

/// Refuses what cannot be whatever the data are. Throws tulle::Error (kConfig).
void check_recovery(const Config& config);

/// Refuses a folder that holds what is not a recovery's: a training, or a grid unless `grid`. Throws
/// tulle::Error (kConfig).
void check_recovery_folder(const std::string& folder, bool grid = false);

/// The task that the [recover] and [data] keys describe. Throws tulle::Error.
RecoverTask task_of(const Config& config);

/// Where a recovery stands.
struct RecoverStep {
  std::int64_t step = 0;
  double psnr = 0.0;  // dB, of the data; of several classes no measure
  std::int64_t nonzeros = 0;
  double seconds = 0.0;  // since the start
};
/// Told after each step; from the first on nothing can be refused any more.
using RecoverWatch = std::function<void(const RecoverStep&)>;

/// One recovery: its figures, by name. `found` gets what was found.
nlohmann::json recover_once(
    const Config& config, const RecoverTask& task, const std::atomic<bool>& stop, Recovery& found,
    const RecoverWatch& watch = [](const RecoverStep&) {});

/// The same, written to a folder: model.safetensors, config.toml, result.json with the PSNR after each
/// step, and original.png and reconstruction.png of an image.
nlohmann::json recover_into(const Config& config, const RecoverTask& task, const std::string& folder,
                            const std::atomic<bool>& stop, const RecoverWatch& watch);

}  // namespace tulle
