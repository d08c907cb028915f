#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tulle {

/// A figure for each pair of a row and a column, such as the PSNR for each width and budget.
struct PhaseDiagram {
  std::string title, unit;
  double low = 0.0, high = 1.0;  // of the colours
  std::vector<std::int64_t> rows, columns;
  std::vector<std::optional<double>> values;  // [row][column]; nothing: not run
};

/// One self-contained HTML page with a heat map for each diagram, side by side: inline SVG, no script, no
/// network.
std::string phase_diagrams(const std::string& title, const std::vector<PhaseDiagram>& diagrams);

}  // namespace tulle
