#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace tulle {

/// Sums of the numbers that arrived at each of very many places, in fewer cells than places: four rows add
/// every number, times a sign, to one of their `width` cells, cell and sign drawn from (seed, row, place).
/// What is large stands out; what shares a cell with it is blurred. Sums are whole multiples of `unit`, so
/// that they do not depend on the order of arrival. Memory: 32 * width bytes. Cost: O(1) a number. Source:
/// Charikar, Chen and Farach-Colton 2002, doi:10.1007/3-540-45465-9_59.
class CountSketch {
 public:
  static constexpr std::size_t kRows = 4;

  /// `unit` above 0; numbers beyond 2^52 units count as so many. Throws std::invalid_argument.
  CountSketch(std::int64_t width, double unit, std::uint64_t seed);
  /// floor(count * max(1, ln(places / count))) cells a row, to find the `count` largest; arXiv 2509.20323.
  static std::int64_t width_for(std::int64_t count, std::int64_t places);

  /// Any number of threads may add at the same time.
  void add(std::int64_t place, double value);
  /// The sum at a place as each row has it: right but for what shares the cell, whose mean over seeds is 0.
  std::array<double, kRows> row_estimates(std::int64_t place) const;
  /// The median of these, of which two are in the middle.
  double estimate(std::int64_t place) const;

 private:
  struct Cell {
    std::size_t at;
    std::int64_t sign;
  };
  std::array<Cell, kRows> cells_of(std::int64_t place) const;

  std::int64_t width_;
  double unit_;
  std::uint64_t seed_;
  std::vector<std::int64_t> sums_;  // [row][cell]
};

}  // namespace tulle
