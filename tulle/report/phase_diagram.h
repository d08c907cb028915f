#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tulle {

/// A figure for each pair of a row and a column, such as the PSNR for each width and budget.
struct PhaseDiagram {
  std::string title, unit, note;  // a note, if there is something to say
  double low = 0.0, high = 1.0;   // of the colours
  std::vector<std::int64_t> rows, columns;
  std::vector<std::optional<double>> values;  // [row][column]; nothing: not run
};

/// <figure> with the heat map of one diagram, as wide as there is room; its parts have the page's CSS
/// classes.
std::string phase_figure(const PhaseDiagram& diagram);

}  // namespace tulle
