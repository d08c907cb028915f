#pragma once

#include <string>

#include "tulle/report/metrics.h"

namespace tulle {

/// One self-contained HTML page about a run: result table, curves, connections of each input as a picture,
/// time by phase, confusion matrix, config. Inline CSS and SVG, no script, no network. Cost: O(size of the
/// record).
std::string html_report(const RunRecord& run);

}  // namespace tulle
