#include "tulle/sparse/topology_update.h"

#include <algorithm>

#include "tulle/base/check.h"

namespace tulle {

std::int64_t TopologyUpdate::grown() const { return std::count(source.begin(), source.end(), kGrown); }

TopologyUpdate replace_connections(const Topology& old, std::span<const std::uint8_t> drop,
                                   std::span<const std::uint64_t> grown) {
  require(static_cast<std::int64_t>(drop.size()) == old.nnz(),
          "replace_connections: one drop flag per connection");
  require(std::is_sorted(grown.begin(), grown.end()), "replace_connections: grown keys must be sorted");
  std::vector<std::int64_t> row_ptr{0}, source;
  std::vector<std::int32_t> columns;
  row_ptr.reserve(static_cast<std::size_t>(old.rows()) + 1);
  columns.reserve(drop.size() + grown.size());
  source.reserve(drop.size() + grown.size());

  const auto width = static_cast<std::uint64_t>(old.cols());
  std::int64_t position = 0;
  std::size_t next = 0;  // of grown
  for (std::int32_t r = 0; r < old.rows(); ++r) {
    const std::uint64_t row_start = static_cast<std::uint64_t>(r) * width;
    const auto grow_below = [&](std::uint64_t key) {
      for (; next < grown.size() && grown[next] < key; ++next) {
        columns.push_back(static_cast<std::int32_t>(grown[next] - row_start));
        source.push_back(TopologyUpdate::kGrown);
      }
    };
    for (const std::int32_t column : old.row(r)) {
      const std::int64_t old_position = position++;
      if (drop[static_cast<std::size_t>(old_position)] != 0) continue;
      grow_below(row_start + static_cast<std::uint64_t>(column));
      columns.push_back(column);
      source.push_back(old_position);
    }
    grow_below(row_start + width);
    row_ptr.push_back(static_cast<std::int64_t>(columns.size()));
  }
  require(next == grown.size(), "replace_connections: a grown key lies outside the layer");
  return {Topology(old.rows(), old.cols(), std::move(row_ptr), std::move(columns)), std::move(source)};
}

Topology without(const Topology& old, std::span<const std::uint8_t> drop) {
  return replace_connections(old, drop, {}).topology;
}

}  // namespace tulle
