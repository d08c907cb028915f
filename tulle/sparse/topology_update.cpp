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

// Rows are counted, then filled, each by the thread that owns them, in their order. count_from(r) and
// fill_from(r) make what does it from row r on: count(row) says how many connections the row of the new
// topology has, fill(row, columns, source) writes them.
template <class Count, class Fill>
TopologyUpdate by_rows(const Topology& old, std::int64_t most, const Count& count_from,
                       const Fill& fill_from) {
  const int parts = most < kSerialBelow ? 1 : thread_count();
  const std::vector<std::int64_t> ranges = balanced_rows(old.row_ptr(), parts);
  RawVector<std::int64_t> row_ptr(static_cast<std::size_t>(old.rows()) + 1);
  row_ptr[0] = 0;
  std::vector<std::int64_t> total(ranges.size(), 0);
  parallel_parts(parts, [&](int part) {
    const auto i = static_cast<std::size_t>(part);
    auto count = count_from(ranges[i]);
    std::int64_t sum = 0;  // of the rows of this part
    for (std::int64_t r = ranges[i]; r < ranges[i + 1]; ++r)
      row_ptr[static_cast<std::size_t>(r) + 1] = sum += count(static_cast<std::int32_t>(r));
    total[i + 1] = sum;
  });
  std::partial_sum(total.begin(), total.end(), total.begin());
  const auto size = static_cast<std::size_t>(total.back());
  RawVector<std::int64_t> source(size);
  RawVector<std::int32_t> columns(size);
  parallel_parts(parts, [&](int part) {
    const auto i = static_cast<std::size_t>(part);
    for (std::int64_t r = ranges[i]; r < ranges[i + 1]; ++r)
      row_ptr[static_cast<std::size_t>(r) + 1] += total[i];
    auto fill = fill_from(ranges[i]);
    std::int64_t place = total[i];
    for (std::int64_t r = ranges[i]; r < ranges[i + 1]; ++r) {
      fill(static_cast<std::int32_t>(r), columns.data() + place, source.data() + place);
      place = row_ptr[static_cast<std::size_t>(r) + 1];
    }
  });
  return {Topology(old.rows(), old.cols(), std::move(row_ptr), std::move(columns)), std::move(source)};
}

}  // namespace

TopologyUpdate replace_connections(const Topology& old, std::span<const std::uint8_t> drop,
                                   std::span<const std::uint64_t> grown) {
  require(static_cast<std::int64_t>(drop.size()) == old.nnz(),
          "replace_connections: one drop flag per connection");
  require(std::is_sorted(grown.begin(), grown.end()), "replace_connections: grown keys must be sorted");
  require(grown.empty() || grown.back() < old.cells(),
          "replace_connections: a grown key lies outside the layer");
  const auto width = static_cast<std::uint64_t>(old.cols());
  // Place in `grown` of the first key that is not below row r.
  const auto first_of = [&](std::int64_t r) {
    return static_cast<std::size_t>(
        std::lower_bound(grown.begin(), grown.end(), static_cast<std::uint64_t>(r) * width) - grown.begin());
  };
  const auto row_ptr = [&](std::int32_t r) { return old.row_ptr()[static_cast<std::size_t>(r)]; };
  const std::int32_t* const columns = old.columns().data();
  return by_rows(
      old, old.nnz() + std::ssize(grown),
      [&](std::int64_t first) {
        return [&, next = first_of(first)](std::int32_t r) mutable {
          const std::uint64_t end = (static_cast<std::uint64_t>(r) + 1) * width;
          std::int64_t count =
              std::count(drop.begin() + row_ptr(r), drop.begin() + row_ptr(r + 1), std::uint8_t{0});
          for (; next < grown.size() && grown[next] < end; ++next) ++count;
          return count;
        };
      },
      [&](std::int64_t first) {
        return
            [&, next = first_of(first)](std::int32_t r, std::int32_t* column, std::int64_t* source) mutable {
              const std::uint64_t row_start = static_cast<std::uint64_t>(r) * width;
              std::int64_t k = row_ptr(r);
              const auto keep_below = [&](std::int32_t end) {
                for (; k < row_ptr(r + 1) && columns[k] < end; ++k) {
                  if (drop[static_cast<std::size_t>(k)] != 0) continue;
                  *column++ = columns[k];
                  *source++ = k;
                }
              };
              for (; next < grown.size() && grown[next] < row_start + width; ++next) {
                const auto here = static_cast<std::int32_t>(grown[next] - row_start);
                keep_below(here);
                *column++ = here;
                *source++ = TopologyUpdate::kGrown;
              }
              keep_below(old.cols());
            };
      });
}

TopologyUpdate without(const Topology& old, std::span<const std::uint8_t> drop) {
  return replace_connections(old, drop, {});
}

void start_grown(const TopologyUpdate& update, std::span<const float> grown_values, std::span<float> values) {
  require(values.size() == update.source.size(), "start_grown: one value per connection");
  const std::int64_t size = std::ssize(update.source);
  const int parts = size < kSerialBelow ? 1 : thread_count();
  // Each thread begins after the values of those before it.
  std::vector<std::size_t> first(static_cast<std::size_t>(parts) + 1, 0);
  const auto sources = [&](int part) {
    const Range range = even_range(size, parts, part);
    return std::span(update.source)
        .subspan(static_cast<std::size_t>(range.begin), static_cast<std::size_t>(range.end - range.begin));
  };
  parallel_parts(parts, [&](int part) {
    first[static_cast<std::size_t>(part) + 1] =
        static_cast<std::size_t>(std::ranges::count(sources(part), TopologyUpdate::kGrown));
  });
  std::partial_sum(first.begin(), first.end(), first.begin());
  require(first.back() == grown_values.size(), "start_grown: one start value per grown connection");
  parallel_parts(parts, [&](int part) {
    const float* next = grown_values.data() + first[static_cast<std::size_t>(part)];
    float* value = values.data() + even_range(size, parts, part).begin;
    for (const std::int64_t source : sources(part)) {
      if (source == TopologyUpdate::kGrown) *value = *next++;
      ++value;
    }
  });
}

}  // namespace tulle
