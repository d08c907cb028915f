#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "tulle/base/aligned.h"
#include "tulle/sparse/topology.h"

namespace tulle {

/// In which order the neurons of a hidden layer are numbered. A random network is the same one up to their
/// names: each layer is drawn by itself. So the numbers may be chosen for what lies near in memory.
struct NumberingInfo {
  std::string_view name;
  std::string_view help;
  std::string_view source;
  /// The targets of a layer in their new order; null: as they were drawn.
  RawVector<std::int32_t> (*order)(const Topology& topology);
};

std::span<const NumberingInfo> numberings();

/// The rows in the order of their first sources, those without connections last, equal ones in their own.
/// What the first connections of the rows read then lies one after the other. Cost: O(rows); memory: 16 bytes
/// a row beside the result.
RawVector<std::int32_t> rows_by_first_source(const Topology& topology);

/// The same rows in another order: row i is what row order[i] was; `order` must hold each row once. Cost:
/// O(rows + nnz). Memory: 4 bytes a connection and 8 a row, beside the topology given. Throws
/// std::invalid_argument unless it has one number per row, std::logic_error after shrink_row_ptr().
Topology with_rows(const Topology& topology, std::span<const std::int32_t> order);

}  // namespace tulle
