#pragma once

#include <string>
#include <vector>

#include "tulle/report/report_run.h"

namespace tulle {

// Figures of what changed from epoch to epoch, "" for what the records do not tell. Of one run, its splits or
// layers share a chart; of several, a chart shows one measure of all of them. Where a run has several seeds a
// line is their mean, with a band from the lowest to the highest.

/// Loss, accuracy and learning rate.
std::string learning_figures(const std::vector<ReportRun>& runs);

/// Connections and density, of each layer for one run with one seed; "" if they never change, for then the
/// tables tell it all.
std::string density_figures(const std::vector<ReportRun>& runs);

/// Connections dropped and grown by evolution events, cells explored so far, neurons without connections.
std::string evolution_figures(const std::vector<ReportRun>& runs);

}  // namespace tulle
