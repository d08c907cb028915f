#include "tulle/report/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "tulle/report/axis.h"
#include "tulle/report/escape.h"
#include "tulle/report/path.h"

namespace tulle {
namespace {

// What a chart holds at most: the points of one series, and of all of them.
constexpr std::size_t kMostPoints = 2000, kMostOfAll = 6000;
constexpr int kColumns = 660;  // of a chart, two screen pixels for each of its units at most

// The chart's own units; the page scales them to the width it has.
constexpr double kWidth = 480, kHeight = 262, kLeft = 50, kRight = 460, kTop = 10, kBottom = 216;

// Series named at the ends of their lines: how many, how long, and how much room a letter and a line take.
constexpr std::size_t kMostNamed = 4, kLongestName = 12;
constexpr double kLetter = 7.0, kLine = 14.0;

struct Frame {
  Axis x, y;
  double right = kRight;
  double spacing = 1;  // between bars
  double at_x(double value) const { return kLeft + (right - kLeft) * x.share(value); }
  double at_y(double value) const { return kBottom - (kBottom - kTop) * y.share(value); }
};

// Far beyond any figure of a training, but differences stay finite.
double bounded(double value) { return std::clamp(value, -1e300, 1e300); }

// The least distance between two neighbours.
double spacing_of(const Chart& chart) {
  double spacing = std::numeric_limits<double>::infinity();
  for (const Series& series : chart.series)
    for (std::size_t i = 1; i < series.points.size(); ++i)
      spacing = std::min(spacing, series.points[i].x - series.points[i - 1].x);
  return spacing;
}

// Whether the ends of the lines say whose they are.
bool names_at_ends(const Chart& chart) {
  if (chart.bars || chart.series.size() < 2 || chart.series.size() > kMostNamed) return false;
  return std::all_of(chart.series.begin(), chart.series.end(),
                     [](const Series& series) { return series.name.size() <= kLongestName; });
}

std::optional<Frame> frame_of(const Chart& chart) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  double x_low = kInfinity, x_high = -kInfinity, y_low = kInfinity, y_high = -kInfinity;
  for (const Series& series : chart.series) {
    for (const Point& point : series.points) {
      x_low = std::min(x_low, point.x);
      x_high = std::max(x_high, point.x);
      if (!std::isfinite(point.y)) continue;
      y_low = std::min(y_low, bounded(point.y));
      y_high = std::max(y_high, bounded(point.y));
    }
    for (const Reach& reach : series.band) {
      y_low = std::min(y_low, bounded(reach.low));
      y_high = std::max(y_high, bounded(reach.high));
    }
  }
  if (y_low > y_high) return std::nullopt;
  if (chart.bars) y_low = std::min(y_low, 0.0), y_high = std::max(y_high, 0.0);
  Frame frame{.x = count_axis(x_low, x_high, 6, chart.counts ? 1.0 : 0.0), .y = round_axis(y_low, y_high, 5)};
  if (names_at_ends(chart)) {
    std::size_t longest = 0;
    for (const Series& series : chart.series) longest = std::max(longest, series.name.size());
    frame.right = kWidth - 10.0 - kLetter * static_cast<double>(longest);
  }
  if (chart.bars && x_high > x_low) {
    frame.spacing = spacing_of(chart);
    frame.x.low -= 0.5 * frame.spacing;
    frame.x.high += 0.5 * frame.spacing;
  }
  return frame;
}

std::string axes(const Chart& chart, const Frame& frame) {
  std::string svg;
  for (const double tick : frame.y.ticks) {
    const double y = frame.at_y(tick);
    svg += fmt::format("<path class=\"grid\" d=\"M{} {:.1f}H{}\"/>", kLeft, y, frame.right);
    svg += fmt::format("<text x=\"{}\" y=\"{:.1f}\" dy=\".35em\" class=\"end\">{}</text>", kLeft - 7, y,
                       frame.y.label(chart.mirrored ? std::abs(tick) : tick));
  }
  for (const double tick : frame.x.ticks) {
    const double x = frame.at_x(tick);
    svg += fmt::format("<path class=\"tick\" d=\"M{:.1f} {}v4\"/>", x, kBottom);
    svg += fmt::format("<text x=\"{:.1f}\" y=\"{}\" class=\"mid\">{}</text>", x, kBottom + 17,
                       frame.x.label(tick));
  }
  const double zero = frame.y.low <= 0.0 && frame.y.high >= 0.0 ? frame.at_y(0.0) : kBottom;
  svg += fmt::format("<path class=\"axis\" d=\"M{0} {1:.1f}H{2}\"/>", kLeft, chart.bars ? zero : kBottom,
                     frame.right);
  svg += fmt::format("<text x=\"{}\" y=\"{}\" class=\"mid name\">{}</text>", (kLeft + frame.right) / 2,
                     kHeight - 3, escape_html(chart.x_label));
  return svg;
}

Path line_path(const std::vector<Point>& points, const Frame& frame) {
  Path path;
  bool open = false;  // a part of the line has begun
  for (const Point& point : points) {
    const bool known = std::isfinite(point.y);
    const double x = frame.at_x(point.x), y = known ? frame.at_y(bounded(point.y)) : 0.0;
    if (known && open) path.line(x, y);
    if (known && !open) path.move(x, y);
    open = known;
  }
  return path;
}

// Every point of a short series, and each between two gaps, which no line shows.
Path dot_path(const std::vector<Point>& points, const Frame& frame) {
  constexpr std::size_t kShort = 30;
  const auto known = [&](std::size_t i) { return i < points.size() && std::isfinite(points[i].y); };
  Path path;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const bool alone = !known(i + 1) && (i == 0 || !known(i - 1));
    if (!known(i) || !(alone || points.size() <= kShort)) continue;
    path.move(frame.at_x(points[i].x), frame.at_y(bounded(points[i].y)));
    path.dot();
  }
  return path;
}

Path bar_path(const std::vector<Point>& points, const Frame& frame) {
  Path path;
  for (const Point& point : points) {
    if (!std::isfinite(point.y) || point.y == 0.0) continue;
    path.move(frame.at_x(point.x), frame.at_y(0.0));
    path.line(frame.at_x(point.x), frame.at_y(bounded(point.y)));
  }
  return path;
}

// Along the upper edge and back along the lower one, `columns` places at most.
Path band_path(const std::vector<Reach>& band, std::size_t columns, const Frame& frame) {
  std::vector<Reach> shown;
  const std::size_t count = std::min(columns, band.size());
  for (std::size_t column = 0; column < count; ++column) {
    const std::size_t begin = band.size() * column / count, end = band.size() * (column + 1) / count;
    shown.push_back(band[begin]);
    for (std::size_t i = begin + 1; i < end; ++i) {
      shown.back().low = std::min(shown.back().low, band[i].low);
      shown.back().high = std::max(shown.back().high, band[i].high);
    }
  }
  Path path;
  for (const Reach& reach : shown) {
    const double x = frame.at_x(reach.x), y = frame.at_y(bounded(reach.high));
    path.empty() ? path.move(x, y) : path.line(x, y);
  }
  for (auto reach = shown.rbegin(); reach != shown.rend(); ++reach)
    path.line(frame.at_x(reach->x), frame.at_y(bounded(reach->low)));
  if (!path.empty()) path.close();
  return path;
}

std::string series_paths(const Chart& chart, const Series& series, const Frame& frame) {
  const std::size_t most = std::clamp<std::size_t>(kMostOfAll / chart.series.size(), 200, kMostPoints);
  const int columns = std::min(kColumns, static_cast<int>(most / 2));
  const std::vector<Point> points = thin(series.points, columns, most);
  const std::string look = fmt::format("s{}{}", series.color % 8, series.color >= 8 ? " dashed" : "");
  const auto path = [&](const char* kind, const Path& of) {
    return of.empty() ? ""
                      : fmt::format("<path class=\"{} {}\" transform=\"scale(.1)\" d=\"{}\"/>", kind, look,
                                    of.text());
  };
  if (!chart.bars)
    return path("band", band_path(series.band, most / 2, frame)) + path("line", line_path(points, frame)) +
           path("dot", dot_path(points, frame));
  const double room = frame.spacing * (frame.right - kLeft) / (frame.x.high - frame.x.low);
  return fmt::format(
      "<path class=\"bar {}\" transform=\"scale(.1)\" style=\"stroke-width:{:.1f}\" d=\"{}\"/>", look,
      10.0 * std::clamp(0.8 * room, 0.6, 26.0), bar_path(points, frame).text());
}

// The names at the ends of the lines, moved apart where they would overlap.
std::string end_names(const Chart& chart, const Frame& frame) {
  std::vector<std::pair<double, std::size_t>> ends;  // height, series
  for (std::size_t i = 0; i < chart.series.size(); ++i) {
    const std::vector<Point>& points = chart.series[i].points;
    const auto last = std::find_if(points.rbegin(), points.rend(),
                                   [](const Point& point) { return std::isfinite(point.y); });
    ends.emplace_back(last == points.rend() ? kBottom : frame.at_y(bounded(last->y)), i);
  }
  std::sort(ends.begin(), ends.end());
  for (std::size_t i = 1; i < ends.size(); ++i)
    ends[i].first = std::max(ends[i].first, ends[i - 1].first + kLine);
  double below = kBottom + kLine;
  for (auto end = ends.rbegin(); end != ends.rend(); ++end)
    below = end->first = std::min(end->first, below - kLine);
  std::string svg;
  std::sort(ends.begin(), ends.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  for (const auto& [y, i] : ends)
    svg += fmt::format("<text class=\"key s{}\" x=\"{:.0f}\" y=\"{:.1f}\" dy=\".35em\">{}</text>",
                       chart.series[i].color % 8, frame.right + 8.0, y, escape_html(chart.series[i].name));
  return svg;
}

// "Loss by epoch: train from 0.76 to 0.30; test ..." for those who do not see the picture.
std::string spoken(const Chart& chart) {
  std::string text = fmt::format("{} by {}", chart.title, chart.x_label);
  const char* separator = ": ";
  for (const Series& series : chart.series) {
    std::vector<double> values;
    for (const Point& point : series.points)
      if (std::isfinite(point.y)) values.push_back(chart.mirrored ? std::abs(point.y) : point.y);
    if (values.empty()) continue;
    text += std::exchange(separator, "; ") + series.name;
    if (chart.bars)
      text += fmt::format(" up to {:.6g}", *std::max_element(values.begin(), values.end()));
    else
      text += fmt::format(" from {:.4g} to {:.4g}", values.front(), values.back());
    if (!chart.unit.empty() && chart.unit != series.name) text += " " + chart.unit;
  }
  return escape_html(text);
}

}  // namespace

std::vector<Point> thin(const std::vector<Point>& points, int columns, std::size_t most) {
  if (points.size() <= most) return points;
  const auto count = static_cast<std::size_t>(columns);
  std::vector<Point> kept;
  for (std::size_t column = 0; column < count; ++column) {
    const std::size_t begin = points.size() * column / count, end = points.size() * (column + 1) / count;
    std::size_t low = end, high = end, gap = end;
    for (std::size_t i = begin; i < end; ++i) {
      if (!std::isfinite(points[i].y)) {
        gap = i;
      } else {
        if (low == end || points[i].y < points[low].y) low = i;
        if (high == end || points[i].y > points[high].y) high = i;
      }
    }
    std::size_t order[] = {low, high, gap};
    std::sort(std::begin(order), std::end(order));
    for (std::size_t i = 0; i < 3; ++i)
      if (order[i] < end && (i == 0 || order[i] != order[i - 1])) kept.push_back(points[order[i]]);
  }
  return kept;
}

std::string chart_figure(const Chart& chart) {
  std::string html = fmt::format("<figure class=\"card\"><figcaption><h3>{}", escape_html(chart.title));
  if (!chart.unit.empty()) html += fmt::format(" <small>{}</small>", escape_html(chart.unit));
  html += "</h3>";
  if (chart.series.size() > 1 && !names_at_ends(chart)) {
    html += "<ul class=\"legend\">";
    for (const Series& series : chart.series)
      html += fmt::format("<li><i class=\"b{}{}\"></i>{}</li>", series.color % 8,
                          series.color >= 8 ? " dashed" : "", escape_html(series.name));
    html += "</ul>";
  }
  html += "</figcaption>";
  const std::optional<Frame> frame = frame_of(chart);
  if (!frame) return html + "<p class=\"quiet\">No finite values.</p></figure>\n";
  // data-frame tells the script what the picture's places mean.
  html += fmt::format(
      "<svg role=\"img\" viewBox=\"0 0 {} {}\" data-frame=\"{:.8g} {:.8g} {:.8g} {:.8g} "
      "{:.1f}\"><title>{}</title>",
      kWidth, kHeight, frame->x.low, frame->x.high, frame->y.low, frame->y.high, frame->right, spoken(chart));
  html += axes(chart, *frame);
  for (const Series& series : chart.series)
    html += fmt::format("<g data-name=\"{}\">{}</g>", escape_html(series.name),
                        series_paths(chart, series, *frame));
  if (names_at_ends(chart)) html += end_names(chart, *frame);
  return html + "</svg></figure>\n";
}

}  // namespace tulle
