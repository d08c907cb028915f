#include "tulle/report/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace tulle {
namespace {

constexpr double kWidth = 640, kHeight = 320, kLeft = 64, kRight = 16, kTop = 16, kBottom = 48;
constexpr std::size_t kMostPoints = 2000;

struct Extent {
  double low = std::numeric_limits<double>::infinity(), high = -std::numeric_limits<double>::infinity();

  void add(double value) {
    if (!std::isfinite(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return low > high; }
  // Room on both sides, so that a constant line has a place too.
  void widen(double part) {
    const double room = high > low ? (high - low) * part : std::max(std::abs(high) * 0.1, 0.5);
    low -= room;
    high += room;
  }
};

// 1, 2 or 5 times a power of ten, so that about `wanted` steps fill the extent.
double tick_step(const Extent& extent, int wanted) {
  const double rough = (extent.high - extent.low) / wanted;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (factor * power >= rough) return factor * power;
  return 10.0 * power;
}

class Frame {
 public:
  Frame(Extent x, Extent y) : x_(x), y_(y) {}

  double px(double x) const { return kLeft + (x - x_.low) / (x_.high - x_.low) * (kWidth - kLeft - kRight); }
  double py(double y) const {
    return kHeight - kBottom - (y - y_.low) / (y_.high - y_.low) * (kHeight - kTop - kBottom);
  }

  std::string axes(const ChartOptions& options) const {
    std::string out;
    const double y_step = tick_step(y_, 5), x_step = std::max(1.0, tick_step(x_, 8));
    for (double y = std::ceil(y_.low / y_step) * y_step; y <= y_.high + 1e-9 * y_step; y += y_step) {
      const double value = std::abs(y) < 1e-9 * y_step ? 0.0 : y;
      out += fmt::format("<path class=\"grid\" d=\"M{:.1f} {:.1f}H{:.1f}\"/>", kLeft, py(y), kWidth - kRight);
      out += fmt::format(
          "<text class=\"tick\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>", kLeft - 8,
          py(y) + 4, options.percent ? fmt::format("{:.4g} %", 100.0 * value) : fmt::format("{:.6g}", value));
    }
    for (double x = std::ceil(x_.low / x_step) * x_step; x <= x_.high + 1e-9 * x_step; x += x_step)
      out +=
          fmt::format("<text class=\"tick\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{:.6g}</text>",
                      px(x), kHeight - kBottom + 18, x);
    out += fmt::format("<path class=\"axis\" d=\"M{:.1f} {:.1f}V{:.1f}H{:.1f}\"/>", kLeft, kTop,
                       kHeight - kBottom, kWidth - kRight);
    out += fmt::format("<text class=\"label\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>",
                       (kLeft + kWidth - kRight) / 2, kHeight - 8, escape_html(options.x_label));
    out += fmt::format(
        "<text class=\"label\" transform=\"translate(14 {:.1f}) rotate(-90)\" "
        "text-anchor=\"middle\">{}</text>",
        (kTop + kHeight - kBottom) / 2, escape_html(options.y_label));
    return out;
  }

 private:
  Extent x_, y_;
};

// The points in order; of the many in one pixel column only the lowest and the highest.
std::vector<std::size_t> thinned(const Series& series, const Frame& frame) {
  std::vector<std::size_t> kept;
  const std::size_t count = std::min(series.x.size(), series.y.size());
  if (count <= kMostPoints) {
    for (std::size_t i = 0; i < count; ++i) kept.push_back(i);
    return kept;
  }
  for (std::size_t i = 0; i < count;) {
    const double column = std::floor(frame.px(series.x[i]));
    std::size_t low = i, high = i, end = i;
    for (; end < count && std::floor(frame.px(series.x[end])) == column; ++end) {
      if (!std::isfinite(series.y[end])) {
        low = high = end;  // a gap stays a gap
        ++end;
        break;
      }
      if (series.y[end] < series.y[low]) low = end;
      if (series.y[end] > series.y[high]) high = end;
    }
    kept.push_back(std::min(low, high));
    if (low != high) kept.push_back(std::max(low, high));
    i = end;
  }
  return kept;
}

std::string path_of(const Series& series, const Frame& frame) {
  std::string path;
  bool pen_down = false;
  for (const std::size_t i : thinned(series, frame)) {
    const bool finite = std::isfinite(series.x[i]) && std::isfinite(series.y[i]);
    if (finite)
      path +=
          fmt::format("{}{:.1f} {:.1f}", pen_down ? "L" : "M", frame.px(series.x[i]), frame.py(series.y[i]));
    pen_down = finite;
  }
  return path;
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '\n':
        out += c;
        break;
      default:
        out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? std::string("\uFFFD") : std::string(1, c);
    }
  }
  return out;
}

std::string line_chart(const ChartOptions& options, std::span<const Series> series) {
  Extent x, y;
  for (const Series& line : series) {
    for (std::size_t i = 0; i < std::min(line.x.size(), line.y.size()); ++i) {
      if (std::isfinite(line.y[i])) x.add(line.x[i]);
      y.add(line.y[i]);
    }
  }
  if (x.empty() || y.empty())
    return fmt::format("<p class=\"none\">{}: no values yet</p>", escape_html(options.title));
  if (options.from_zero) y.add(0.0);
  y.widen(0.05);
  if (options.from_zero) y.low = 0.0;
  if (x.low == x.high) x.widen(0.0);
  const Frame frame(x, y);

  std::string out = fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\"><title>{}</title>", kWidth, kHeight,
                                escape_html(options.title));
  out += frame.axes(options);
  for (std::size_t s = 0; s < series.size(); ++s) {
    const std::string path = path_of(series[s], frame);
    if (path.empty()) continue;
    out += fmt::format("<path class=\"line s{}\" d=\"{}\"/>", s, path);
    if (path.find('L') == std::string::npos)  // single points
      for (std::size_t i = 0; i < series[s].y.size(); ++i)
        if (std::isfinite(series[s].y[i]))
          out += fmt::format("<circle class=\"dot s{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\"/>", s,
                             frame.px(series[s].x[i]), frame.py(series[s].y[i]));
  }
  out += "</svg><p class=\"legend\">";
  for (std::size_t s = 0; s < series.size(); ++s)
    out += fmt::format("<span><i class=\"s{}\"></i>{}</span>", s, escape_html(series[s].name));
  return out + "</p>";
}

std::string heat_colour(double share) {
  // Brightness rises evenly along the way, so that order is seen by the colour-blind and in print too.
  constexpr std::array<std::array<double, 3>, 5> kStops{
      {{13, 8, 60}, {84, 16, 110}, {181, 55, 96}, {245, 130, 50}, {250, 236, 130}}};
  const double place = std::clamp(share, 0.0, 1.0) * (kStops.size() - 1);
  const auto below = std::min(static_cast<std::size_t>(place), kStops.size() - 2);
  const double part = place - static_cast<double>(below);
  std::array<int, 3> rgb{};
  for (std::size_t c = 0; c < 3; ++c)
    rgb[c] =
        static_cast<int>(std::lround(kStops[below][c] + part * (kStops[below + 1][c] - kStops[below][c])));
  return fmt::format("#{:02x}{:02x}{:02x}", rgb[0], rgb[1], rgb[2]);
}

std::string heat_map(std::string_view title, int height, int width, std::span<const std::int64_t> values) {
  const std::int64_t most = values.empty() ? 0 : *std::max_element(values.begin(), values.end());
  const auto colour = [&](std::int64_t value) {
    return heat_colour(most == 0 ? 0.0 : static_cast<double>(value) / static_cast<double>(most));
  };
  std::string out = fmt::format(
      "<svg class=\"map\" viewBox=\"0 0 {} {}\" shape-rendering=\"crispEdges\" "
      "role=\"img\"><title>{}</title>",
      width, height, escape_html(title));
  for (int row = 0; row < height; ++row) {
    for (int column = 0; column < width;) {
      const auto at = [&](int c) {
        return values[static_cast<std::size_t>(row) * static_cast<std::size_t>(width) +
                      static_cast<std::size_t>(c)];
      };
      int end = column + 1;
      while (end < width && at(end) == at(column)) ++end;
      out += fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"1\" fill=\"{}\"/>", column, row,
                         end - column, colour(at(column)));
      column = end;
    }
  }
  out += "</svg><p class=\"scale\">0 <span>";
  for (int i = 0; i < 16; ++i) out += fmt::format("<i style=\"background:{}\"></i>", heat_colour(i / 15.0));
  return out + fmt::format("</span> {}</p>", most);
}

}  // namespace tulle
