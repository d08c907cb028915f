#pragma once

#include <string>
#include <vector>

namespace tulle {

struct Point {
  double x = 0, y = 0;  // y not finite: nothing known here, a gap
};

/// How far several runs reach at one place.
struct Reach {
  double x = 0, low = 0, high = 0;
};

struct Series {
  std::string name;
  int color = 0;  // CSS class s0 .. s7; from 8 on the same ones, dashed
  std::vector<Point> points;
  std::vector<Reach> band = {};  // shaded behind the line, finite; may be empty
};

/// What one figure shows. Names and titles may hold any text; they are escaped.
struct Chart {
  std::string title, unit, x_label;  // unit of y, "" if it has none
  std::vector<Series> series;
  bool bars = false;      // upright bars from zero instead of lines
  bool mirrored = false;  // two sides of zero, both told without sign
  bool counts = true;     // x counts something: ticks are whole numbers
};

/// At most two extremes and one gap for each of `columns` equal parts of the x range, in the order of the
/// points: what a picture of that many pixels shows of them. Up to `most` points are returned as they are.
std::vector<Point> thin(const std::vector<Point>& points, int columns, std::size_t most = 2000);

/// <figure> with title, legend and one inline <svg>: axes, ticks, one path for each series. A few series with
/// short names are named at the ends of their lines instead of in a legend. A text stands in its place if no
/// point is finite. Cost: O(points); size bounded by thin(), which keeps the less of each series the more
/// there are.
std::string chart_figure(const Chart& chart);

}  // namespace tulle
