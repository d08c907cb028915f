#include "tulle/sparse/patterns.h"

#include <algorithm>
#include <vector>

#include "tulle/base/check.h"
#include "tulle/base/parallel.h"
#include "tulle/sparse/sampling.h"

namespace tulle {
namespace {

Topology draw_random(std::int32_t rows, std::int32_t cols, std::int64_t m, double, const Random& key) {
  return random_topology(rows, cols, m, key);
}

Topology draw_block(std::int32_t rows, std::int32_t cols, std::int64_t m, double, const Random& key) {
  return block_topology(rows, cols, m, key);
}

// To add a pattern: how it is drawn above, and one line here.
constexpr PatternInfo kPatterns[] = {
    {"random", "any cells, each equally likely", "Mocanu et al. 2018", draw_random},
    {"watts-strogatz", "the sources nearest to each target on a ring, some moved anywhere (topology.rewire)",
     "Watts and Strogatz 1998", watts_strogatz_topology},
    {"block", "random blocks of 16 x 16 cells", "Gray et al. 2017", draw_block},
};

void check_count(std::int32_t rows, std::int32_t cols, std::int64_t m) {
  require(rows >= 0 && cols >= 0 && m >= 0 &&
              static_cast<std::uint64_t>(m) <=
                  static_cast<std::uint64_t>(rows) * static_cast<std::uint64_t>(cols),
          "a pattern needs as many cells as connections");
}

// Moves some of a target's `degree` sources, which begin at `first` on the ring, to others that it has not.
// Draws come from the places of the row.
void place_row(std::span<std::int32_t> row, std::int64_t first, std::int32_t cols, double rewire,
               const Random& key, std::uint64_t place) {
  for (std::size_t i = 0; i < row.size(); ++i)
    row[i] = static_cast<std::int32_t>((first + static_cast<std::int64_t>(i)) % cols);
  std::sort(row.begin(), row.end());
  if (std::ssize(row) == cols) return;                     // nowhere to go
  std::vector<std::int32_t> here(row.begin(), row.end());  // sorted
  for (std::int32_t& source : row) {
    const auto moves = static_cast<double>(key.bits64(place++) >> 11) * 0x1p-53 < rewire;
    // A place among the sources that the target has not, counted in their order: no draw is lost.
    const std::uint64_t free = key.below(static_cast<std::uint64_t>(cols - std::ssize(row)), place++);
    if (!moves) continue;
    auto other = static_cast<std::int32_t>(free);
    for (const std::int32_t taken : here) {
      if (taken > other) break;
      ++other;
    }
    here.erase(std::lower_bound(here.begin(), here.end(), source));
    here.insert(std::lower_bound(here.begin(), here.end(), other), other);
  }
  std::ranges::copy(here, row.begin());
}

}  // namespace

std::span<const PatternInfo> patterns() { return kPatterns; }

Topology watts_strogatz_topology(std::int32_t rows, std::int32_t cols, std::int64_t m, double rewire,
                                 const Random& key) {
  check_count(rows, cols, m);
  require(rewire >= 0.0 && rewire <= 1.0, "watts_strogatz_topology: rewire is a probability");
  RawVector<std::int64_t> row_ptr(static_cast<std::size_t>(rows) + 1, 0);
  for (std::int64_t r = 1; r <= rows; ++r)  // the remainder is spread over the ring
    row_ptr[static_cast<std::size_t>(r)] = m / rows * r + m % rows * r / rows;
  RawVector<std::int32_t> columns(static_cast<std::size_t>(m));
  parallel_ranges(rows, 64, [&](Range range) {
    for (std::int64_t r = range.begin; r < range.end; ++r) {
      const std::int64_t begin = row_ptr[static_cast<std::size_t>(r)],
                         degree = row_ptr[static_cast<std::size_t>(r) + 1] - begin;
      const std::int64_t middle = (2 * r + 1) * cols / (2 * std::int64_t{rows});
      const std::int64_t first = (middle - degree / 2 + cols) % cols;
      place_row(std::span(columns).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(degree)),
                first, cols, rewire, key, 2 * static_cast<std::uint64_t>(begin));
    }
  });
  return Topology(rows, cols, std::move(row_ptr), std::move(columns));
}

Topology block_topology(std::int32_t rows, std::int32_t cols, std::int64_t m, const Random& key) {
  check_count(rows, cols, m);
  if (m == 0) return Topology::from_keys(rows, cols, {});
  const std::int64_t across = (std::int64_t{cols} + kBlock - 1) / kBlock,
                     down = (std::int64_t{rows} + kBlock - 1) / kBlock;
  const Bijection block(static_cast<std::uint64_t>(across * down), key);
  RawVector<std::uint64_t> keys;
  keys.reserve(static_cast<std::size_t>(m));
  for (std::uint64_t drawn = 0; std::ssize(keys) < m; ++drawn) {
    const auto at = static_cast<std::int64_t>(block(drawn));
    const std::int64_t top = at / across * kBlock, left = at % across * kBlock;
    for (std::int64_t r = top; r < std::min<std::int64_t>(top + kBlock, rows); ++r)
      for (std::int64_t c = left; c < std::min<std::int64_t>(left + kBlock, cols) && std::ssize(keys) < m;
           ++c)
        keys.push_back(static_cast<std::uint64_t>(r * cols + c));
  }
  sort_keys(keys, static_cast<std::uint64_t>(rows) * static_cast<std::uint64_t>(cols));
  return Topology::from_keys(rows, cols, keys);
}

}  // namespace tulle
