#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "tulle/train/config.h"
#include "tulle/train/recover_run.h"

namespace tulle::cli {

struct GridOptions {
  std::vector<std::int64_t> widths, budgets;
  std::string seeds = "0";
  std::vector<std::string> methods;  // empty: recover.method
};

/// Every cell of widths x budgets x seeds x methods: a line each in OUT/NAME/grid.jsonl, and grid.csv and
/// grid.html (a heat map a method) made from them. Cells that have a line are not run again, so that a grid
/// that was stopped goes on. False: stopped. Throws tulle::Error, kConfig for a folder with the grid of
/// another config.
bool recover_grid(const Config& config, const GridOptions& grid, const std::atomic<bool>& stop, bool quiet);

/// Where a recovery stands, on one line: steps, PSNR unless there are several classes, nonzeros, time.
std::string recover_status(const RecoverTask& task, const RecoverStep& now);

}  // namespace tulle::cli
