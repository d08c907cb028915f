#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "tulle/train/config.h"

namespace tulle::cli {

/// Adds the options of one verb to its subcommand and returns what runs it; the answer is the exit code.
using Command = std::function<int()>;

Command train_command(CLI::App& app);
Command eval_command(CLI::App& app);
Command predict_command(CLI::App& app);
Command inspect_command(CLI::App& app);
Command prune_command(CLI::App& app);
Command import_command(CLI::App& app);
Command export_command(CLI::App& app);
Command recover_command(CLI::App& app);
Command bench_command(CLI::App& app);
Command plan_command(CLI::App& app);
Command report_command(CLI::App& app);
Command list_command(CLI::App& app);
Command launch_command(CLI::App& app);

/// The config of `train` with these words. Throws as `train` does if they are wrong.
Config config_of_training(const std::vector<std::string>& words);

}  // namespace tulle::cli
