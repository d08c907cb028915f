#include "tulle/report/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "tulle/report/axis.h"
#include "tulle/report/escape.h"

namespace tulle {
namespace {

constexpr std::size_t kMostPoints = 2000;
constexpr int kColumns = 660;  // of a chart, two screen pixels for each of its units at most

// The chart's own units; the page scales them to the width it has.
constexpr double kWidth = 480, kHeight = 252, kLeft = 50, kRight = 460, kTop = 10, kBottom = 216;

struct Frame {
  Axis x, y;
  double spacing = 1;  // between bars
  double at_x(double value) const { return kLeft + (kRight - kLeft) * x.share(value); }
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
  }
  if (y_low > y_high) return std::nullopt;
  if (chart.bars) y_low = std::min(y_low, 0.0), y_high = std::max(y_high, 0.0);
  Frame frame{.x = count_axis(x_low, x_high, 6), .y = round_axis(y_low, y_high, 5)};
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
    svg += fmt::format("<path class=\"grid\" d=\"M{} {:.1f}H{}\"/>", kLeft, y, kRight);
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
                     kRight);
  svg += fmt::format("<text x=\"{}\" y=\"{}\" class=\"mid name\">{}</text>", (kLeft + kRight) / 2,
                     kHeight - 3, escape_html(chart.x_label));
  return svg;
}

std::string line_path(const std::vector<Point>& points, const Frame& frame) {
  std::string path;
  bool open = false;  // a part of the line has begun
  for (const Point& point : points) {
    const bool known = std::isfinite(point.y);
    if (known)
      path +=
          fmt::format("{}{:.1f} {:.1f}", open ? "L" : "M", frame.at_x(point.x), frame.at_y(bounded(point.y)));
    open = known;
  }
  return path;
}

// A dot is a line of no length, round by its caps: every point of a short series, and each between two gaps,
// which no line shows.
std::string dot_path(const std::vector<Point>& points, const Frame& frame) {
  constexpr std::size_t kShort = 30;
  const auto known = [&](std::size_t i) { return i < points.size() && std::isfinite(points[i].y); };
  std::string path;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const bool alone = !known(i + 1) && (i == 0 || !known(i - 1));
    if (known(i) && (alone || points.size() <= kShort))
      path += fmt::format("M{:.1f} {:.1f}h0", frame.at_x(points[i].x), frame.at_y(bounded(points[i].y)));
  }
  return path;
}

std::string bar_path(const std::vector<Point>& points, const Frame& frame) {
  std::string path;
  for (const Point& point : points)
    if (std::isfinite(point.y) && point.y != 0.0)
      path += fmt::format("M{:.1f} {:.1f}V{:.1f}", frame.at_x(point.x), frame.at_y(0.0),
                          frame.at_y(bounded(point.y)));
  return path;
}

std::string series_path(const Chart& chart, const Series& series, const Frame& frame) {
  const std::vector<Point> points = thin(series.points, kColumns);
  if (!chart.bars)
    return fmt::format("<path class=\"line s{0}\" d=\"{1}\"/><path class=\"dot s{0}\" d=\"{2}\"/>",
                       series.color % 8, line_path(points, frame), dot_path(points, frame));
  const double room = frame.spacing * (kRight - kLeft) / (frame.x.high - frame.x.low);
  return fmt::format("<path class=\"bar s{}\" style=\"stroke-width:{:.2f}\" d=\"{}\"/>", series.color % 8,
                     std::clamp(0.7 * room, 0.6, 26.0), bar_path(points, frame));
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

std::vector<Point> thin(const std::vector<Point>& points, int columns) {
  if (points.size() <= kMostPoints) return points;
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
  if (chart.series.size() > 1) {
    html += "<ul class=\"legend\">";
    for (const Series& series : chart.series)
      html += fmt::format("<li><i class=\"b{}\"></i>{}</li>", series.color % 8, escape_html(series.name));
    html += "</ul>";
  }
  html += "</figcaption>";
  const std::optional<Frame> frame = frame_of(chart);
  if (!frame) return html + "<p class=\"quiet\">No finite values.</p></figure>\n";
  html += fmt::format("<svg role=\"img\" viewBox=\"0 0 {} {}\"><title>{}</title>", kWidth, kHeight,
                      spoken(chart));
  html += axes(chart, *frame);
  for (const Series& series : chart.series) html += series_path(chart, series, *frame);
  return html + "</svg></figure>\n";
}

}  // namespace tulle
