#pragma once

#include <string>

#include "tulle/report/report_run.h"

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

/// The same figures of several runs, or of the seeds of one and their mean with its standard deviation; those
/// of the dense network below them where it was run.
std::string comparison_table(const std::vector<ReportRun>& runs);
/// Where a run comes from: command, machine, version, hashes of data and model.
std::string origin_table(const ReportRun& run);
/// What a recovery found: figures, PSNR by step, pictures, phase diagrams.
std::string recovery_cards(const RecoveryRecord& recovery);

}  // namespace tulle
