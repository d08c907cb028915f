#include "tulle/sparse/numbering.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "tulle/base/check.h"
#include "tulle/base/parallel.h"
#include "tulle/sparse/sampling.h"

namespace tulle {
namespace {

// To add a numbering: its order below and one line here.
constexpr NumberingInfo kNumberings[] = {
    {"drawn", "hidden neurons in the order in which they are drawn", "", nullptr},
    {"by-source",
     "hidden neurons in the order of their first inputs, so that these are read one after the other: the "
     "same random network with other names, faster where activations exceed the caches",
     "", rows_by_first_source},
};

constexpr std::int64_t kRowsOfAThread = 1 << 12;  // at least

}  // namespace

std::span<const NumberingInfo> numberings() { return kNumberings; }

RawVector<std::int32_t> rows_by_first_source(const Topology& topology) {
  const auto rows = static_cast<std::size_t>(topology.rows());
  const auto none = static_cast<std::uint64_t>(topology.cols());
  RawVector<std::uint64_t> keys(rows);  // the first source, then the row
  parallel_ranges(topology.rows(), kRowsOfAThread, [&](Range range) {
    for (std::int64_t r = range.begin; r < range.end; ++r) {
      const auto sources = topology.row(static_cast<std::int32_t>(r));
      const std::uint64_t first = sources.empty() ? none : static_cast<std::uint64_t>(sources.front());
      keys[static_cast<std::size_t>(r)] = first << 32 | static_cast<std::uint64_t>(r);
    }
  });
  sort_keys(keys, (none + 1) << 32);
  RawVector<std::int32_t> order(rows);
  parallel_ranges(topology.rows(), kRowsOfAThread, [&](Range range) {
    for (auto i = static_cast<std::size_t>(range.begin); i < static_cast<std::size_t>(range.end); ++i)
      order[i] = static_cast<std::int32_t>(keys[i] & 0xffffffff);
  });
  return order;
}

Topology with_rows(const Topology& topology, std::span<const std::int32_t> order) {
  require(std::ssize(order) == topology.rows(), "with_rows: one number per row");
  const std::int64_t* const old_begin = topology.row_ptr().wide().data();
  const auto old_row = [&](std::size_t i) { return static_cast<std::size_t>(order[i]); };
  RawVector<std::int64_t> row_ptr(order.size() + 1);
  RawVector<std::int32_t> columns(static_cast<std::size_t>(topology.nnz()));
  row_ptr[0] = 0;
  const int parts = topology.rows() < kRowsOfAThread ? 1 : thread_count();
  std::vector<std::int64_t> before(static_cast<std::size_t>(parts) + 1, 0);  // connections, of each part
  const auto for_rows = [&](int part, const auto& body) {
    const Range range = even_range(topology.rows(), parts, part);
    for (auto i = static_cast<std::size_t>(range.begin); i < static_cast<std::size_t>(range.end); ++i)
      body(i);
  };
  parallel_parts(parts, [&](int part) {
    std::int64_t sum = 0;
    for_rows(part, [&](std::size_t i) {
      row_ptr[i + 1] = sum += old_begin[old_row(i) + 1] - old_begin[old_row(i)];
    });
    before[static_cast<std::size_t>(part) + 1] = sum;
  });
  std::partial_sum(before.begin(), before.end(), before.begin());
  parallel_parts(parts, [&](int part) {
    // Rows lie anywhere in memory: where one begins is asked for ahead, and then what it holds.
    constexpr std::size_t kAhead = 16;
    const std::size_t last = order.size() - 1;
    const std::int32_t* const old_columns = topology.columns().data();
    std::int32_t* to = columns.data() + before[static_cast<std::size_t>(part)];
    for_rows(part, [&](std::size_t i) {
      __builtin_prefetch(old_begin + old_row(std::min(i + 2 * kAhead, last)));
      __builtin_prefetch(old_columns + old_begin[old_row(std::min(i + kAhead, last))]);
      const std::int32_t* const row = old_columns + old_begin[old_row(i)];
      row_ptr[i + 1] += before[static_cast<std::size_t>(part)];
      std::int32_t* const end = columns.data() + row_ptr[i + 1];
      for (std::size_t k = 0; to != end; ++k) *to++ = row[k];
    });
  });
  return Topology::of_valid(topology.rows(), topology.cols(), std::move(row_ptr), std::move(columns));
}

}  // namespace tulle
