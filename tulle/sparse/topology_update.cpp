#include "tulle/sparse/topology_update.h"

#include <algorithm>

#include "tulle/base/check.h"

namespace tulle {

std::int64_t TopologyUpdate::grown() const { return std::count(source.begin(), source.end(), kGrown); }

TopologyUpdate without(const Topology& old, std::span<const std::uint8_t> drop) {
  require(static_cast<std::int64_t>(drop.size()) == old.nnz(), "without: one drop flag per connection");
  std::vector<std::int64_t> row_ptr{0}, source(drop.size() + 1);
  std::vector<std::int32_t> columns(drop.size() + 1);
  row_ptr.reserve(static_cast<std::size_t>(old.rows()) + 1);
  std::size_t kept = 0, position = 0;
  for (std::int32_t r = 0; r < old.rows(); ++r) {
    for (const std::int32_t column : old.row(r)) {
      columns[kept] = column;  // overwritten by the next if this one goes: nobody can foretell which do
      source[kept] = static_cast<std::int64_t>(position);
      kept += drop[position++] == 0 ? 1 : 0;
    }
    row_ptr.push_back(static_cast<std::int64_t>(kept));
  }
  columns.resize(kept);
  source.resize(kept);
  return {Topology(old.rows(), old.cols(), std::move(row_ptr), std::move(columns)), std::move(source)};
}

TopologyUpdate with_grown(const TopologyUpdate& kept, std::span<const std::uint64_t> grown) {
  require(std::is_sorted(grown.begin(), grown.end()), "with_grown: grown keys must be sorted");
  const Topology& old = kept.topology;
  const std::size_t count = kept.source.size() + grown.size();
  std::vector<std::int64_t> row_ptr{0}, source;
  std::vector<std::int32_t> columns;
  row_ptr.reserve(static_cast<std::size_t>(old.rows()) + 1);
  columns.reserve(count);
  source.reserve(count);
  const auto width = static_cast<std::uint64_t>(old.cols());
  std::size_t next = 0, position = 0;  // of grown, of kept
  for (std::int32_t r = 0; r < old.rows(); ++r) {
    const std::uint64_t row_start = static_cast<std::uint64_t>(r) * width;
    const auto grow_below = [&](std::uint64_t key) {
      for (; next < grown.size() && grown[next] < key; ++next) {
        columns.push_back(static_cast<std::int32_t>(grown[next] - row_start));
        source.push_back(TopologyUpdate::kGrown);
      }
    };
    for (const std::int32_t column : old.row(r)) {
      grow_below(row_start + static_cast<std::uint64_t>(column));
      columns.push_back(column);
      source.push_back(kept.source[position++]);
    }
    grow_below(row_start + width);
    row_ptr.push_back(static_cast<std::int64_t>(columns.size()));
  }
  require(next == grown.size(), "with_grown: a grown key lies outside the layer");
  return {Topology(old.rows(), old.cols(), std::move(row_ptr), std::move(columns)), std::move(source)};
}

TopologyUpdate replace_connections(const Topology& old, std::span<const std::uint8_t> drop,
                                   std::span<const std::uint64_t> grown) {
  return with_grown(without(old, drop), grown);
}

}  // namespace tulle
