#include "tulle/recover/count_sketch.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "tulle/base/check.h"
#include "tulle/base/random.h"

namespace tulle {

CountSketch::CountSketch(std::int64_t width, double unit, std::uint64_t seed)
    : width_(width), unit_(unit), seed_(seed) {
  require(width > 0 && width <= std::int64_t{1} << 31 && unit > 0.0,
          "count sketch: 1 to 2^31 cells and a unit above 0");
  sums_.resize(kRows * static_cast<std::size_t>(width));
}

std::int64_t CountSketch::width_for(std::int64_t count, std::int64_t places) {
  const auto s = static_cast<double>(count);
  return static_cast<std::int64_t>(s * std::max(1.0, std::log(static_cast<double>(places) / s)));
}

std::array<CountSketch::Cell, CountSketch::kRows> CountSketch::cells_of(std::int64_t place) const {
  const std::array<std::uint32_t, 4> words =
      Random{.seed = seed_, .stream = Stream::kSketch}.words(static_cast<std::uint64_t>(place));
  std::array<Cell, kRows> cells;
  for (std::size_t row = 0; row < kRows; ++row) {
    const std::uint64_t drawn = words[row] >> 1;  // 31 bits choose the cell, one the sign
    cells[row] = {row * static_cast<std::size_t>(width_) +
                      static_cast<std::size_t>(drawn * static_cast<std::uint64_t>(width_) >> 31),
                  (words[row] & 1) == 0 ? 1 : -1};
  }
  return cells;
}

void CountSketch::add(std::int64_t place, double value) {
  const std::int64_t units = std::llrint(std::clamp(value / unit_, -0x1p52, 0x1p52));
  for (const Cell& cell : cells_of(place))
    std::atomic_ref(sums_[cell.at]).fetch_add(cell.sign * units, std::memory_order_relaxed);
}

std::array<double, CountSketch::kRows> CountSketch::row_estimates(std::int64_t place) const {
  std::array<double, kRows> estimates;
  const std::array<Cell, kRows> cells = cells_of(place);
  for (std::size_t row = 0; row < kRows; ++row)
    estimates[row] = unit_ * static_cast<double>(cells[row].sign * sums_[cells[row].at]);
  return estimates;
}

double CountSketch::estimate(std::int64_t place) const {
  std::array<double, kRows> sorted = row_estimates(place);
  std::ranges::sort(sorted);
  return (sorted[1] + sorted[2]) / 2.0;
}

}  // namespace tulle
