#include "tulle/report/path.h"

#include <cmath>

namespace tulle {

// A minus sign separates as well as a space.
void Path::number(long value, bool follows) {
  if (follows && value >= 0) text_ += ' ';
  text_ += std::to_string(value);
}

void Path::move(double x, double y) {
  x_ = std::lround(10.0 * x);
  y_ = std::lround(10.0 * y);
  text_ += 'M';
  number(x_, false);
  number(y_, true);
  in_line_ = false;
}

void Path::line(double x, double y) {
  const long to_x = std::lround(10.0 * x), to_y = std::lround(10.0 * y);
  if (!in_line_) text_ += 'l';
  number(to_x - x_, in_line_);
  number(to_y - y_, true);
  x_ = to_x;
  y_ = to_y;
  in_line_ = true;
}

}  // namespace tulle
