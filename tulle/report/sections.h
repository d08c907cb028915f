#pragma once

#include <string>

#include "tulle/report/metrics.h"

namespace tulle {

// The parts of the report's page, each a piece of HTML, "" if the run has nothing to show in it.

/// The figures a reader asks for first: quality, connections, time, speed.
std::string headline(const RunRecord& run);
/// Sparse beside dense with factors, as the command line prints it.
std::string result_table(const ResultRecord& result);
/// Seconds of the whole training by phase.
std::string phase_table(const RunRecord& run);
/// Density, dropped and grown connections of each layer.
std::string layer_table(const RunRecord& run);
/// Test samples by true and predicted class for up to 20 classes, and the pairs most often confused.
std::string confusion_section(const ResultRecord& result);

}  // namespace tulle
