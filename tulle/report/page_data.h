#pragma once

#include <string>
#include <vector>

#include "tulle/report/report_run.h"

namespace tulle {

/// The figures of the page for other programs, a <script type="application/json" id="tulle-data">:
///
///   {"runs": [{"name", "seeds": [{"start": {..}, "epochs": {"epoch": [..], "test_acc": [..], ..},
///              "result": [{"name", "sparse", "dense"}, ..], "confusion": [[..], ..], "end": {..}}, ..],
///              "recovery": {"figures": {..}, "psnr": [..]}}, ..]}
///
/// Names are those of metrics.jsonl. An epoch's figures are columns, 6 digits each, null where there is no
/// number; of more than some 1,000 epochs in all an even choice is left, the last one included. What is empty
/// is left out. At most some 120 kB.
std::string page_data(const std::vector<ReportRun>& runs);

}  // namespace tulle
