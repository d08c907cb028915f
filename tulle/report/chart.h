#pragma once

#include <string>
#include <vector>

namespace tulle {

struct Point {
  double x = 0, y = 0;  // y not finite: nothing known here, a gap
};

struct Series {
  std::string name;
  int color = 0;  // CSS class s0 .. s7
  std::vector<Point> points;
};

/// What one figure shows. Names and titles may hold any text; they are escaped.
struct Chart {
  std::string title, unit, x_label;  // unit of y, "" if it has none
  std::vector<Series> series;
  bool bars = false;      // upright bars from zero instead of lines
  bool mirrored = false;  // two sides of zero, both told without sign
};

/// At most two extremes and one gap for each of `columns` equal parts of the x range, in the order of the
/// points: what a picture of that many pixels shows of them. Few points are returned as they are.
std::vector<Point> thin(const std::vector<Point>& points, int columns);

/// <figure> with title, legend and one inline <svg>: axes, ticks, one path for each series. A text stands in
/// its place if no point is finite. Cost: O(points), size bounded by thin().
std::string chart_figure(const Chart& chart);

}  // namespace tulle
