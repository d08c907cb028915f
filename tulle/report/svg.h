#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tulle {

/// Text for HTML and SVG, in content and in attributes: markup escaped, control characters shown as U+FFFD.
std::string escape_html(std::string_view text);

/// One line of a chart. NaN leaves a gap.
struct Series {
  std::string name;
  std::vector<double> x, y;
};

struct ChartOptions {
  std::string title, x_label, y_label;
  bool percent = false;    // y is a share, shown in per cent
  bool from_zero = false;  // the y axis starts at 0
};

/// Lines with axes, ticks and a legend, 640 x 320, scaling with the page. Colours come from the page's CSS
/// (classes s0, s1, ...). A series of more than 2,000 points is thinned to the extremes of each pixel column.
std::string line_chart(const ChartOptions& options, std::span<const Series> series);

/// One rectangle per cell of a height x width picture, coloured by value from dark to bright, with a scale.
/// Runs of equal cells in a row are one rectangle.
std::string heat_map(std::string_view title, int height, int width, std::span<const std::int64_t> values);

/// The colour of `share` in [0, 1] on the scale of heat_map, "#rrggbb". Brightness rises with the share.
std::string heat_colour(double share);

}  // namespace tulle
