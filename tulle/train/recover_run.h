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

/// The task that the [recover] and [data] keys describe. Throws tulle::Error.
RecoverTask task_of(const Config& config);

/// One recovery: its figures, by name. `found` gets what was found. `begun` is called once, when nothing can
/// be refused any more.
nlohmann::json recover_once(
    const Config& config, const RecoverTask& task, const std::atomic<bool>& stop, Recovery& found,
    const std::function<void()>& begun = [] {});

/// The same, written to a folder: model.safetensors, config.toml, result.json with the PSNR after each
/// step, and original.png and reconstruction.png of an image.
nlohmann::json recover_into(const Config& config, const RecoverTask& task, const std::string& folder,
                            const std::atomic<bool>& stop, const std::function<void()>& begun);

}  // namespace tulle
