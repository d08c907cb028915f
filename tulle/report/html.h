#pragma once

#include <string>
#include <vector>

#include "tulle/report/report_run.h"

namespace tulle {

struct PageOptions {
  bool live = false;  // served while the runs go on: the page fetches itself again, and nothing else
};

/// One self-contained HTML page about one run or several beside each other: result table, curves, structure
/// of the layers, connections of each input as a picture, mixing matrices, time by phase, confusion matrix,
/// samples, config. Inline CSS, SVG and a script that only adds to what is there: without it nothing is
/// missing but the figures under the pointer. For other programs the figures are there as JSON (page_data.h).
/// No network. Cost: O(size of the records); a page of several runs leaves out the details of the last ones
/// rather than grow beyond some 500 kB.
std::string html_report(const std::vector<ReportRun>& runs, const PageOptions& options = {});

}  // namespace tulle
