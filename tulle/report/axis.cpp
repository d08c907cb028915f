#include "tulle/report/axis.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace tulle {
namespace {

// 1, 2 or 5 times a power of ten, at least `least`.
double round_step(double least) {
  const double power = std::pow(10.0, std::floor(std::log10(least)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (factor * power >= least * (1.0 - 1e-9)) return factor * power;
  return 10.0 * power;
}

void add_ticks(Axis& axis, double first, double last) {
  const auto steps = static_cast<int>(std::floor((last - first) / axis.step + 1e-6));
  for (int i = 0; i <= steps; ++i) axis.ticks.push_back(first + i * axis.step);
}

}  // namespace

std::string Axis::label(double tick) const {
  if (std::abs(tick) < 1e-9 * step) return "0";
  const double largest = std::max(std::abs(low), std::abs(high));
  if (largest >= 1e13 || step < 1e-5) return fmt::format("{:.3g}", tick);
  double unit = 1.0;
  const char* suffix = "";
  if (largest >= 1e10) {
    unit = 1e9, suffix = "G";
  } else if (largest >= 1e7) {
    unit = 1e6, suffix = "M";
  } else if (largest >= 1e4) {
    unit = 1e3, suffix = "k";
  }
  const int decimals = std::clamp(-static_cast<int>(std::floor(std::log10(step / unit) + 1e-9)), 0, 5);
  return fmt::format("{:.{}f}{}", tick / unit, decimals, suffix);
}

Axis round_axis(double low, double high, int count) {
  // Equal or nearly equal values: an axis needs some room, and ticks that differ when they are printed.
  const double least = std::max(1e-6 * std::max(std::abs(low), std::abs(high)), 1e-12);
  if (high - low < least) {
    const double room = high == 0.0 ? 1.0 : 0.1 * std::abs(high);
    low -= low >= 0.0 ? std::min(room, low) : room;
    high += room;
  }
  Axis axis;
  axis.step = round_step((high - low) / count);
  axis.low = axis.step * std::floor(low / axis.step + 1e-9);
  axis.high = axis.step * std::ceil(high / axis.step - 1e-9);
  add_ticks(axis, axis.low, axis.high);
  return axis;
}

Axis count_axis(double low, double high, int count, double least_step) {
  Axis axis;
  if (high <= low) {  // one place, in the middle
    axis.low = low - 1.0;
    axis.high = low + 1.0;
    axis.ticks = {low};
    return axis;
  }
  axis.low = low;
  axis.high = high;
  axis.step = std::max(round_step((high - low) / count), least_step);
  add_ticks(axis, axis.step * std::ceil(low / axis.step), high);
  return axis;
}

std::string grouped(std::int64_t number) {
  std::string digits = std::to_string(number);
  const int sign = number < 0 ? 1 : 0;
  for (int at = static_cast<int>(digits.size()) - 3; at > sign; at -= 3)
    digits.insert(static_cast<std::size_t>(at), "\u202f");
  return digits;
}

std::string duration(double seconds) {
  if (!std::isfinite(seconds)) return "-";
  if (seconds < 60.0) return fmt::format("{:.{}f} s", seconds, seconds < 10.0 ? 2 : 1);
  const auto whole = std::llround(std::min(seconds, 1e15));
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
}

}  // namespace tulle
