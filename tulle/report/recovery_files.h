#pragma once

#include <optional>
#include <string>

#include "tulle/report/report_run.h"

namespace tulle {

/// What `tulle recover` wrote into a folder: result.json, original.png and reconstruction.png, or grid.jsonl.
/// Nothing if there are none; what cannot be read of them is left out.
std::optional<RecoveryRecord> read_recovery(const std::string& directory);

/// A heat map for each method in the lines of a grid.jsonl: the mean over seeds for each width and budget.
/// Lines that cannot be read are left out.
std::vector<PhaseDiagram> read_diagrams(const std::string& grid_lines);

}  // namespace tulle
