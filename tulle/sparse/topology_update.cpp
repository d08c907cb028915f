#include "tulle/sparse/topology_update.h"

#include <algorithm>
#include <array>
#include <bit>
#include <functional>
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

// The rows of a new topology, cut among threads by the connections of the old one: where each begins.
struct NewRows {
  std::vector<std::int64_t> ranges;  // of each thread
  RawVector<std::int64_t> row_ptr;

  std::size_t connections() const { return static_cast<std::size_t>(row_ptr[row_ptr.size() - 1]); }
};

// count_from(r) makes what says of row r and those after it, one after another, how many connections each
// has.
template <class Count>
NewRows new_rows(const Topology& old, std::int64_t most, const Count& count_from) {
  const int parts = most < kSerialBelow ? 1 : thread_count();
  NewRows rows{.ranges = balanced_rows(old.row_ptr(), parts),
               .row_ptr = RawVector<std::int64_t>(static_cast<std::size_t>(old.rows()) + 1)};
  rows.row_ptr[0] = 0;
  std::vector<std::int64_t> total(rows.ranges.size(), 0);
  parallel_parts(parts, [&](int part) {
    const auto i = static_cast<std::size_t>(part);
    auto count = count_from(rows.ranges[i]);
    std::int64_t sum = 0;  // of the rows of this part
    for (std::int64_t r = rows.ranges[i]; r < rows.ranges[i + 1]; ++r)
      rows.row_ptr[static_cast<std::size_t>(r) + 1] = sum += count(static_cast<std::int32_t>(r));
    total[i + 1] = sum;
  });
  std::partial_sum(total.begin(), total.end(), total.begin());
  parallel_parts(parts, [&](int part) {
    const auto i = static_cast<std::size_t>(part);
    if (total[i] == 0) return;
    for (std::int64_t r = rows.ranges[i]; r < rows.ranges[i + 1]; ++r)
      rows.row_ptr[static_cast<std::size_t>(r) + 1] += total[i];
  });
  return rows;
}

// How many of the connections [begin, end) are kept; flags are 0 or 1. Of up to 8 without a branch: how many
// a row has cannot be foreseen.
std::int64_t count_kept(std::span<const std::uint8_t> drop, std::int64_t begin, std::int64_t end) {
  constexpr std::int64_t kTogether = 8;
  std::int64_t count = end - begin;
  if (count <= kTogether && begin + kTogether <= std::ssize(drop)) {
    std::array<std::uint8_t, kTogether> flags;
    std::copy_n(drop.data() + begin, kTogether, flags.data());
    const auto beyond = static_cast<int>(8 * (kTogether - count));  // bits of others' flags
    const std::uint64_t own = std::bit_cast<std::uint64_t>(flags) << beyond / 2 << beyond / 2;
    return count - static_cast<std::int64_t>(own * 0x0101010101010101 >> 56);  // the sum of its bytes
  }
  for (std::int64_t k = begin; k < end; ++k) count -= drop[static_cast<std::size_t>(k)];
  return count;
}

void check_drop(const Topology& old, std::span<const std::uint8_t> drop) {
  require(static_cast<std::int64_t>(drop.size()) == old.nnz(),
          "replace_connections: one drop flag per connection");
}

NewRows kept_rows(const Topology& old, std::span<const std::uint8_t> drop) {
  check_drop(old, drop);
  const RowPtr& row_ptr = old.row_ptr();
  return new_rows(old, old.nnz(), [&](std::int64_t first) {
    return [&, begin = row_ptr[static_cast<std::size_t>(first)]](std::int32_t r) mutable {
      const std::int64_t end = row_ptr[static_cast<std::size_t>(r) + 1];
      return count_kept(drop, std::exchange(begin, end), end);
    };
  });
}

// write(place, k) for every kept connection k and its new place. No branch for a connection: which ones go
// cannot be foreseen; a dropped one is written where the next kept one comes.
template <class Write>
void for_kept(const Topology& old, std::span<const std::uint8_t> drop, const NewRows& rows,
              const Write& write) {
  parallel_parts(static_cast<int>(rows.ranges.size()) - 1, [&](int part) {
    const auto first = static_cast<std::size_t>(rows.ranges[static_cast<std::size_t>(part)]);
    const auto last = static_cast<std::size_t>(rows.ranges[static_cast<std::size_t>(part) + 1]);
    auto k = static_cast<std::size_t>(old.row_ptr()[first]);
    for (auto place = static_cast<std::size_t>(rows.row_ptr[first]);
         place < static_cast<std::size_t>(rows.row_ptr[last]); ++k) {
      write(place, k);
      place += drop[k] == 0 ? 1 : 0;
    }
  });
}

}  // namespace

Topology kept(const Topology& old, std::span<const std::uint8_t> drop) {
  NewRows rows = kept_rows(old, drop);
  RawVector<std::int32_t> columns(rows.connections());
  for_kept(old, drop, rows,
           [&, from = old.columns().data()](std::size_t place, std::size_t k) { columns[place] = from[k]; });
  return Topology::of_valid(old.rows(), old.cols(), std::move(rows.row_ptr), std::move(columns));
}

TopologyUpdate without(const Topology& old, std::span<const std::uint8_t> drop) {
  NewRows rows = kept_rows(old, drop);
  RawVector<std::int32_t> columns(rows.connections());
  RawVector<std::int64_t> source(columns.size());
  for_kept(old, drop, rows, [&, from = old.columns().data()](std::size_t place, std::size_t k) {
    columns[place] = from[k];
    source[place] = static_cast<std::int64_t>(k);
  });
  return {.topology = Topology::of_valid(old.rows(), old.cols(), std::move(rows.row_ptr), std::move(columns)),
          .source = std::move(source)};
}

TopologyUpdate replace_connections(const Topology& old, std::span<const std::uint8_t> drop,
                                   std::span<const std::uint64_t> grown) {
  if (grown.empty()) return without(old, drop);
  check_drop(old, drop);
  require(std::ranges::adjacent_find(grown, std::greater_equal<>()) == grown.end(),
          "replace_connections: grown keys must be sorted, each one once");
  require(grown.back() < old.cells(), "replace_connections: a grown key lies outside the layer");
  if (old.nnz() == 0)
    return {.topology = Topology::from_keys(old.rows(), old.cols(), grown),
            .source = RawVector<std::int64_t>(grown.size(), TopologyUpdate::kGrown)};
  const auto width = static_cast<std::uint64_t>(old.cols());
  // Place in `grown` of the first key that is not below row r.
  const auto first_of = [&](std::int64_t r) {
    return static_cast<std::size_t>(
        std::lower_bound(grown.begin(), grown.end(), static_cast<std::uint64_t>(r) * width) - grown.begin());
  };
  const auto begin_of = [&](std::int64_t r) { return old.row_ptr()[static_cast<std::size_t>(r)]; };
  NewRows rows = new_rows(old, old.nnz() + std::ssize(grown), [&](std::int64_t first) {
    return [&, next = first_of(first), begin = begin_of(first)](std::int32_t r) mutable {
      const std::uint64_t row_end = (static_cast<std::uint64_t>(r) + 1) * width;
      const std::int64_t end = begin_of(std::int64_t{r} + 1);
      std::int64_t count = count_kept(drop, std::exchange(begin, end), end);
      for (; next < grown.size() && grown[next] < row_end; ++next) ++count;
      return count;
    };
  });
  RawVector<std::int32_t> columns(rows.connections());
  RawVector<std::int64_t> source(columns.size());
  const int parts = static_cast<int>(rows.ranges.size()) - 1;
  std::vector<std::int64_t> regrown(static_cast<std::size_t>(parts), 0), stored(regrown);
  parallel_parts(parts, [&](int part) {
    const auto i = static_cast<std::size_t>(part);
    const std::int32_t* const old_columns = old.columns().data();
    const std::int64_t last = old.nnz() - 1;
    std::size_t next = first_of(rows.ranges[i]);
    auto place = static_cast<std::size_t>(rows.row_ptr[static_cast<std::size_t>(rows.ranges[i])]);
    for (std::int64_t r = rows.ranges[i]; r < rows.ranges[i + 1]; ++r) {
      const std::uint64_t row_start = static_cast<std::uint64_t>(r) * width;
      const auto row_end = static_cast<std::size_t>(rows.row_ptr[static_cast<std::size_t>(r) + 1]);
      const std::int64_t end = begin_of(r + 1);
      // Two sorted lists become one without a branch: which of them is next cannot be foreseen.
      for (std::int64_t k = begin_of(r); place < row_end;) {
        const auto at = static_cast<std::size_t>(std::min(k, last));
        const std::uint64_t cell = grown[std::min(next, grown.size() - 1)] - row_start;
        const std::int32_t old_column = old_columns[at], grown_column = static_cast<std::int32_t>(cell);
        const bool has_old = k < end, has_grown = (next < grown.size()) & (cell < width);
        const bool keeps = has_old & (drop[at] == 0);
        const bool grows = has_grown & (!has_old | (grown_column < old_column));
        const bool same = has_old & has_grown & (grown_column == old_column);
        columns[place] = grows ? grown_column : old_column;
        source[place] = grows ? TopologyUpdate::kGrown : k;
        regrown[i] += (same & !keeps) ? 1 : 0;
        stored[i] += (same & keeps) ? 1 : 0;
        place += (grows | keeps) ? 1 : 0;
        next += grows ? 1 : 0;
        k += grows ? 0 : 1;
      }
    }
  });
  const auto sum = [](const std::vector<std::int64_t>& of) {
    return std::accumulate(of.begin(), of.end(), std::int64_t{0});
  };
  require(sum(stored) == 0, "replace_connections: a grown key is that of a connection which is kept");
  return {.topology = Topology::of_valid(old.rows(), old.cols(), std::move(rows.row_ptr), std::move(columns)),
          .source = std::move(source),
          .regrown = sum(regrown)};
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
