#pragma once

#include <string>

namespace tulle {

/// The text of an SVG path in tenths of a chart's units, to be shown with scale(.1): whole numbers, each
/// point told from the one before, take half the bytes of decimals.
class Path {
 public:
  void move(double x, double y);
  void line(double x, double y);
  /// A line of no length where the path is: round caps make it a dot.
  void dot() { text_ += "h0"; }
  void close() { text_ += 'z'; }

  bool empty() const { return text_.empty(); }
  const std::string& text() const { return text_; }

 private:
  void number(long value, bool follows);

  std::string text_;
  long x_ = 0, y_ = 0;
  bool in_line_ = false;
};

}  // namespace tulle
