#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tulle/base/aligned.h"
#include "tulle/base/parallel.h"
#include "tulle/sparse/topology.h"

namespace tulle {

/// The answer of an evolution rule: the new topology and, for each of its connections, where it was before.
struct TopologyUpdate {
  static constexpr std::int64_t kGrown = -1;

  Topology topology;
  RawVector<std::int64_t> source;  // old position, or kGrown
  std::int64_t regrown = 0;        // of those that grew: cells that were dropped

  std::int64_t grown() const;
  std::int64_t dropped(std::int64_t old_nnz) const { return old_nnz - (topology.nnz() - grown()); }
};

/// The old topology without the connections marked in `drop` (nnz flags), and with the cells `grown` (sorted
/// keys, which no kept connection has); a dropped cell that grows again counts as grown. Throws
/// std::invalid_argument for anything else. Cost: O(nnz + grown). Memory: 12 bytes for each new connection.
TopologyUpdate replace_connections(const Topology& old, std::span<const std::uint8_t> drop,
                                   std::span<const std::uint64_t> grown);

/// The same where nothing grows; kept() is its topology alone. Memory of that: 4 bytes for each connection
/// kept.
Topology kept(const Topology& old, std::span<const std::uint8_t> drop);
TopologyUpdate without(const Topology& old, std::span<const std::uint8_t> drop);

/// values[k] = grown_values[i] for the i-th grown connection k. Throws std::invalid_argument unless there is
/// one for each. Cost: O(nnz).
void start_grown(const TopologyUpdate& update, std::span<const float> grown_values, std::span<float> values);

/// Moves any array of one entry per connection to the new order; grown connections get `initial`. Cost:
/// O(nnz).
template <class T>
AlignedVector<T> carry_over(const TopologyUpdate& update, std::span<const T> old_values, T initial) {
  AlignedVector<T> values(update.source.size());
  parallel_ranges(std::ssize(values), 1 << 14, [&](Range range) {
    for (auto k = static_cast<std::size_t>(range.begin); k < static_cast<std::size_t>(range.end); ++k) {
      // The choice of an address takes no branch: which connections are grown cannot be foreseen.
      const std::int64_t source = update.source[k];
      const T* const from = source == TopologyUpdate::kGrown ? &initial : old_values.data() + source;
      values[k] = *from;
    }
  });
  return values;
}

}  // namespace tulle
