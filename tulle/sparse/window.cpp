#include "tulle/sparse/window.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tulle/base/check.h"
#include "tulle/base/parallel.h"
#include "tulle/sparse/sampling.h"

namespace tulle {
namespace {

std::int64_t width_of(const WindowLaw& law, std::int32_t cols) {
  return std::min<std::int64_t>(law.width, cols);
}

// Connections that lie within the windows.
std::uint64_t connections_within(const Topology& topology, const WindowLaw& law) {
  constexpr std::int64_t kRows = 1 << 12;  // of a piece whose number one thread finds
  const std::int64_t pieces = (topology.rows() + kRows - 1) / kRows;
  std::vector<std::uint64_t> within(static_cast<std::size_t>(pieces), 0);
  const std::int64_t width = width_of(law, topology.cols());
  parallel_ranges(pieces, 1, [&](Range range) {
    for (std::int64_t piece = range.begin; piece < range.end; ++piece)
      for (std::int64_t r = piece * kRows; r < std::min<std::int64_t>((piece + 1) * kRows, topology.rows());
           ++r) {
        const auto row = static_cast<std::int32_t>(r);
        const std::int32_t start = window_start(law, topology.rows(), topology.cols(), row);
        for (const std::int32_t source : topology.row(row))
          within[static_cast<std::size_t>(piece)] +=
              source - start + (source < start ? topology.cols() : 0) < width ? 1 : 0;
      }
  });
  return std::accumulate(within.begin(), within.end(), std::uint64_t{0});
}

}  // namespace

std::int32_t window_start(const WindowLaw& law, std::int32_t rows, std::int32_t cols, std::int32_t row) {
  const std::int64_t middle = std::int64_t{row} * cols / rows;
  const std::int64_t start = middle - width_of(law, cols) / 2;
  return static_cast<std::int32_t>(start < 0 ? start + cols : start);
}

std::vector<std::uint64_t> windowed_absent_cells(const Topology& topology, std::int64_t count,
                                                 const WindowLaw& law, const Random& key,
                                                 const RowShare& share) {
  require(law.width >= 0 && law.share >= 0.0 && law.share <= 1.0,
          "windowed_absent_cells: a width of 0 or more and a share between 0 and 1");
  if (law.width == 0) return random_absent_cells(topology, count, key, share);
  require(share.comm == nullptr, "windowed_absent_cells: all rows of the layer");
  const std::int32_t rows = topology.rows(), cols = topology.cols();
  const auto width = static_cast<std::uint64_t>(width_of(law, cols));
  const auto place_of = [&, rows, cols, width](std::span<std::uint64_t> cells) {
    for (std::uint64_t& cell : cells) {
      const auto row = static_cast<std::int32_t>(cell / width);
      const std::uint64_t column =
          static_cast<std::uint64_t>(window_start(law, rows, cols, row)) + cell % width;
      const auto sources = static_cast<std::uint64_t>(cols);
      cell = static_cast<std::uint64_t>(row) * sources + (column < sources ? column : column - sources);
    }
  };
  Random near_key = key;
  near_key.stream = Stream::kWindow;
  std::vector<std::uint64_t> cells = absent_cells(
      topology,
      {.cells = static_cast<std::uint64_t>(rows) * width,
       .taken = connections_within(topology, law),
       .to_keys = place_of},
      std::llround(law.share * static_cast<double>(std::max<std::int64_t>(count, 0))), {}, near_key);
  const std::vector<std::uint64_t> far =
      absent_cells(topology, all_cells(topology), count - std::ssize(cells), cells, key);
  const auto middle = static_cast<std::ptrdiff_t>(cells.size());
  cells.insert(cells.end(), far.begin(), far.end());
  std::inplace_merge(cells.begin(), cells.begin() + middle, cells.end());
  return cells;
}

Topology windowed_topology(std::int32_t rows, std::int32_t cols, std::int64_t m, const WindowLaw& law,
                           const Random& key) {
  const Topology empty(rows, cols, RawVector<std::int64_t>(static_cast<std::size_t>(rows) + 1, 0), {});
  require(m >= 0 && static_cast<std::uint64_t>(m) <= empty.cells(),
          "windowed_topology: more connections than cells");
  return Topology::from_keys(rows, cols, windowed_absent_cells(empty, m, law, key));
}

}  // namespace tulle
