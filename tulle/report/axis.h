#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tulle {

/// Round numbers along one side of a chart.
struct Axis {
  double low = 0, high = 1;
  std::vector<double> ticks;
  double step = 1;  // between ticks

  /// Where `value` lies, from 0 at `low` to 1 at `high`.
  double share(double value) const { return (value - low) / (high - low); }
  /// A tick as printed, all ticks of the axis with the same decimals: "0.25", "12k".
  std::string label(double tick) const;
};

/// An axis around [low, high] (finite, low <= high) with about `count` ticks 1, 2 or 5 times a power of ten
/// apart; it reaches from tick to tick.
Axis round_axis(double low, double high, int count);

/// The same for an axis that ends at the data, with ticks at least `least_step` apart: 1 for counted things
/// such as epochs.
Axis count_axis(double low, double high, int count, double least_step = 1.0);

/// 1234567 as "1 234 567" with narrow spaces that do not break.
std::string grouped(std::int64_t number);

/// "0.35 s", "2 min 05 s", "3 h 07 min"; "-" if not finite.
std::string duration(double seconds);

}  // namespace tulle
