#include "tulle/report/heat_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "tulle/report/axis.h"
#include "tulle/report/chart.h"

namespace tulle {
namespace {

constexpr int kMostCells = 128;  // in a row or column
constexpr int kLevels = 64;      // colours; up to this many different degrees have one each

struct Cells {
  int height = 0, width = 0, block = 1;
  std::vector<std::int64_t> degree;
};

bool is_image(const InputsRecord& inputs) {
  if (inputs.height <= 0 || inputs.width <= 0 || inputs.channels <= 0) return false;
  const double pixels = 1.0 * inputs.height * inputs.width * inputs.channels;
  return pixels == static_cast<double>(inputs.degree.size());
}

// Channels lie one after the other, each row by row, as the readers give them.
std::int64_t pixel_degree(const InputsRecord& inputs, std::size_t pixel) {
  std::int64_t degree = 0;
  const std::size_t pixels = inputs.degree.size() / static_cast<std::size_t>(inputs.channels);
  for (std::size_t at = pixel; at < inputs.degree.size(); at += pixels) degree += inputs.degree[at];
  return degree;
}

Cells cells_of(const InputsRecord& inputs) {
  Cells cells;
  cells.block = (std::max(inputs.height, inputs.width) + kMostCells - 1) / kMostCells;
  cells.height = (inputs.height + cells.block - 1) / cells.block;
  cells.width = (inputs.width + cells.block - 1) / cells.block;
  for (int row = 0; row < cells.height; ++row) {
    for (int column = 0; column < cells.width; ++column) {
      std::int64_t sum = 0, count = 0;
      for (int y = row * cells.block; y < std::min((row + 1) * cells.block, inputs.height); ++y) {
        for (int x = column * cells.block; x < std::min((column + 1) * cells.block, inputs.width); ++x) {
          sum += pixel_degree(inputs, static_cast<std::size_t>(y) * static_cast<std::size_t>(inputs.width) +
                                          static_cast<std::size_t>(x));
          ++count;
        }
      }
      cells.degree.push_back((sum + count / 2) / count);
    }
  }
  return cells;
}

struct DegreeSpread {
  std::int64_t low, median, high, unconnected;
};

DegreeSpread spread_of(std::vector<std::int64_t> degree) {
  std::sort(degree.begin(), degree.end());
  return {degree.front(), degree[degree.size() / 2], degree.back(),
          std::count(degree.begin(), degree.end(), std::int64_t{0})};
}

// One path for each colour: cells of equal degree share it, so that a picture stays small, and its title
// tells their degree under the pointer.
std::string heat_svg(const Cells& cells, const DegreeSpread& spread) {
  const std::int64_t range = std::max<std::int64_t>(spread.high - spread.low, 1);
  const std::int64_t width = range / kLevels + 1;  // degrees in one colour
  std::map<std::int64_t, std::string> paths;
  for (std::size_t i = 0; i < cells.degree.size(); ++i) {
    const auto columns = static_cast<std::size_t>(cells.width);
    paths[(cells.degree[i] - spread.low) / width] += fmt::format("M{} {}h1v1h-1z", i % columns, i / columns);
  }
  std::string svg = fmt::format(
      "<svg role=\"img\" class=\"heat\" viewBox=\"0 0 {} {}\"><title>Connections of each pixel: {} to {}, "
      "median {}</title>",
      cells.width, cells.height, spread.low, spread.high, spread.median);
  for (const auto& [level, path] : paths) {
    const std::int64_t first = spread.low + level * width, last = std::min(first + width - 1, spread.high);
    const double middle =
        0.5 * static_cast<double>(first + last - 2 * spread.low) / static_cast<double>(range);
    const std::string degrees = first == last ? std::to_string(first) : fmt::format("{} to {}", first, last);
    svg += fmt::format("<path fill=\"{}\" d=\"{}\"><title>{} connections</title></path>", heat_color(middle),
                       path, degrees);
  }
  return svg + "</svg>";
}

std::string scale(const DegreeSpread& spread) {
  std::string colors;
  for (int i = 0; i <= 8; ++i) colors += (i == 0 ? "" : ",") + heat_color(i / 8.0);
  return fmt::format(
      "<div class=\"scale\"><div style=\"background:linear-gradient(90deg,{})\"></div>"
      "<span>{}</span><span>{}</span><span>{}</span></div>",
      colors, grouped(spread.low),
      spread.high - spread.low > 1 ? grouped((spread.low + spread.high) / 2) : "", grouped(spread.high));
}

std::string facts(const DegreeSpread& spread, const char* things) {
  return fmt::format(
      "<dl class=\"facts\"><div><dt>fewest</dt><dd>{}</dd></div><div><dt>median</dt><dd>{}</dd></div>"
      "<div><dt>most</dt><dd>{}</dd></div><div><dt>{} without any</dt><dd>{}</dd></div></dl>",
      grouped(spread.low), grouped(spread.median), grouped(spread.high), things, grouped(spread.unconnected));
}

// How many inputs have how many connections, in at most 48 bars.
std::string distribution(const std::vector<std::int64_t>& degrees, const std::string& things) {
  const DegreeSpread spread = spread_of(degrees);
  const std::int64_t width = (spread.high - spread.low) / 48 + 1;
  std::map<std::int64_t, std::int64_t> counts;
  for (std::int64_t bin = 0; bin <= (spread.high - spread.low) / width; ++bin) counts[bin] = 0;
  for (const std::int64_t degree : degrees) ++counts[(degree - spread.low) / width];
  Chart chart{.title = "Distribution",
              .unit = things,
              .x_label = width > 1 ? fmt::format("connections, {} a bar", width) : "connections",
              .series = {},
              .bars = true};
  chart.series.push_back({.name = things, .color = 0, .points = {}});
  for (const auto& [bin, count] : counts) {
    const double middle =
        static_cast<double>(spread.low + bin * width) + 0.5 * static_cast<double>(width - 1);
    chart.series[0].points.push_back({middle, static_cast<double>(count)});
  }
  return chart_figure(chart);
}

}  // namespace

std::string heat_color(double share) {
  constexpr int kViridis[9][3] = {{68, 1, 84},    {71, 44, 122},  {59, 81, 139},
                                  {44, 113, 142}, {33, 144, 141}, {39, 173, 129},
                                  {92, 200, 99},  {170, 220, 50}, {253, 231, 37}};
  const double place = 8.0 * std::clamp(share, 0.0, 1.0);
  const int lower = std::min(static_cast<int>(place), 7);
  const auto mix = [&](int part) {
    const double low = kViridis[lower][part], high = kViridis[lower + 1][part];
    return static_cast<int>(std::lround(low + (place - lower) * (high - low)));
  };
  return fmt::format("#{:02x}{:02x}{:02x}", mix(0), mix(1), mix(2));
}

std::string inputs_figure(const InputsRecord& inputs) {
  if (inputs.degree.empty()) return "";
  if (!is_image(inputs)) {
    Chart chart{.title = "Connections of each input", .x_label = "input, from 0", .bars = true};
    chart.series.push_back({.name = "connections"});
    for (std::size_t i = 0; i < inputs.degree.size(); ++i)
      chart.series[0].points.push_back({static_cast<double>(i), static_cast<double>(inputs.degree[i])});
    return chart_figure(chart) + distribution(inputs.degree, "inputs");
  }
  const Cells cells = cells_of(inputs);
  const DegreeSpread spread = spread_of(cells.degree);
  std::string html = fmt::format(
      "<figure class=\"card tall\"><figcaption><h3>Connections of each pixel <small>{} \u00d7 "
      "{}{}{}</small></h3>"
      "</figcaption>",
      inputs.height, inputs.width,
      inputs.channels > 1 ? fmt::format(", sum of {} channels", inputs.channels) : "",
      cells.block > 1 ? fmt::format(", means of {0} \u00d7 {0}", cells.block) : "");
  html += heat_svg(cells, spread) + scale(spread) + facts(spread, "pixels") + "</figure>\n";
  return html + distribution(cells.degree, "pixels");
}

}  // namespace tulle
