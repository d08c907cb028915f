#include "tulle/sparse/topology_update.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "tulle/base/check.h"
#include "tulle/base/parallel.h"

namespace tulle {
namespace {

constexpr std::int64_t kSerialBelow = 1 << 14;

}  // namespace

std::int64_t TopologyUpdate::grown() const { return std::count(source.begin(), source.end(), kGrown); }

namespace {

// Rows are counted, then filled, each by the thread that owns them: count(row) and fill(row, place) say how
// many connections a row of the new topology has, and put them at `place` and behind.
template <class Count, class Fill>
TopologyUpdate by_rows(const Topology& old, std::int64_t most, const Count& count, const Fill& fill) {
  const int parts = most < kSerialBelow ? 1 : thread_count();
  const std::vector<std::int64_t> ranges = balanced_rows(old.row_ptr(), parts);
  std::vector<std::int64_t> row_ptr(static_cast<std::size_t>(old.rows()) + 1, 0), total(ranges.size(), 0);
  parallel_parts(parts, [&](int part) {
    const auto i = static_cast<std::size_t>(part);
    std::int64_t sum = 0;  // of the rows of this part
    for (std::int64_t r = ranges[i]; r < ranges[i + 1]; ++r)
      row_ptr[static_cast<std::size_t>(r) + 1] = sum += count(static_cast<std::int32_t>(r));
    total[i + 1] = sum;
  });
  std::partial_sum(total.begin(), total.end(), total.begin());
  const auto size = static_cast<std::size_t>(total.back());
  std::vector<std::int64_t> source(size + 1);
  std::vector<std::int32_t> columns(size + 1);  // with room for one that may go
  parallel_parts(parts, [&](int part) {
    const auto i = static_cast<std::size_t>(part);
    for (std::int64_t r = ranges[i]; r < ranges[i + 1]; ++r) row_ptr[static_cast<std::size_t>(r) + 1] += total[i];
    std::int64_t place = total[i];
    for (std::int64_t r = ranges[i]; r < ranges[i + 1]; ++r) {
      fill(static_cast<std::int32_t>(r), columns.data() + place, source.data() + place);
      place = row_ptr[static_cast<std::size_t>(r) + 1];
    }
  });
  columns.resize(size);
  source.resize(size);
  return {Topology(old.rows(), old.cols(), std::move(row_ptr), std::move(columns)), std::move(source)};
}

}  // namespace

TopologyUpdate without(const Topology& old, std::span<const std::uint8_t> drop) {
  require(static_cast<std::int64_t>(drop.size()) == old.nnz(), "without: one drop flag per connection");
  const std::int64_t* const row_ptr = old.row_ptr().data();
  const std::int32_t* const columns = old.columns().data();
  return by_rows(
      old, old.nnz(),
      [&](std::int32_t r) {
        return std::count(drop.begin() + row_ptr[r], drop.begin() + row_ptr[r + 1], std::uint8_t{0});
      },
      [&](std::int32_t r, std::int32_t* column, std::int64_t* source) {
        for (std::int64_t k = row_ptr[r]; k < row_ptr[r + 1]; ++k)
          if (drop[static_cast<std::size_t>(k)] == 0) {
            *column++ = columns[k];
            *source++ = k;
          }
      });
}

TopologyUpdate with_grown(const TopologyUpdate& kept, std::span<const std::uint64_t> grown) {
  require(std::is_sorted(grown.begin(), grown.end()), "with_grown: grown keys must be sorted");
  const Topology& old = kept.topology;
  require(grown.empty() || grown.back() < old.cells(), "with_grown: a grown key lies outside the layer");
  const auto width = static_cast<std::uint64_t>(old.cols());
  // Where the grown keys of each row begin.
  std::vector<std::int64_t> begin(static_cast<std::size_t>(old.rows()) + 1, std::ssize(grown));
  std::uint64_t row = 0;
  begin[0] = 0;
  for (std::size_t i = 0; i < grown.size(); ++i)
    if (grown[i] >= (row + 1) * width) {
      const std::uint64_t here = grown[i] < (row + 2) * width ? row + 1 : grown[i] / width;
      while (row < here) begin[++row] = static_cast<std::int64_t>(i);
    }
  const std::int64_t* const row_ptr = old.row_ptr().data();
  const std::int32_t* const columns = old.columns().data();
  return by_rows(
      old, old.nnz() + std::ssize(grown),
      [&](std::int32_t r) {
        const auto i = static_cast<std::size_t>(r);
        return row_ptr[r + 1] - row_ptr[r] + begin[i + 1] - begin[i];
      },
      [&](std::int32_t r, std::int32_t* column, std::int64_t* source) {
        const auto i = static_cast<std::size_t>(r);
        const std::uint64_t row_start = static_cast<std::uint64_t>(r) * width;
        std::int64_t k = row_ptr[r];
        for (std::int64_t g = begin[i]; g < begin[i + 1]; ++g) {
          const auto new_column = static_cast<std::int32_t>(grown[static_cast<std::size_t>(g)] - row_start);
          for (; k < row_ptr[r + 1] && columns[k] < new_column; ++k) {
            *column++ = columns[k];
            *source++ = kept.source[static_cast<std::size_t>(k)];
          }
          *column++ = new_column;
          *source++ = TopologyUpdate::kGrown;
        }
        for (; k < row_ptr[r + 1]; ++k) {
          *column++ = columns[k];
          *source++ = kept.source[static_cast<std::size_t>(k)];
        }
      });
}

TopologyUpdate replace_connections(const Topology& old, std::span<const std::uint8_t> drop,
                                   std::span<const std::uint64_t> grown) {
  return with_grown(without(old, drop), grown);
}

}  // namespace tulle
