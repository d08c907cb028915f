#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "tulle/base/aligned.h"
#include "tulle/base/parallel.h"
#include "tulle/sparse/row_ptr.h"

namespace tulle {

/// Which connections of a layer exist: CSR, row = target neuron, column = source neuron, columns strictly
/// increasing within a row. Values (weights, gradients, momenta) are separate arrays of nnz() entries in this
/// order, so a weight that becomes exactly 0 stays a connection. The order is that of the keys target * cols
/// + source.
class Topology {
 public:
  Topology() = default;
  /// Throws std::invalid_argument unless the arrays are a valid CSR pattern of rows x cols. Cost: O(rows +
  /// nnz).
  Topology(std::int32_t rows, std::int32_t cols, RawVector<std::int64_t> row_ptr,
           RawVector<std::int32_t> columns);
  /// From keys target * cols + source. Throws std::invalid_argument unless they are strictly increasing and
  /// inside. Cost: O(rows + nnz).
  static Topology from_keys(std::int32_t rows, std::int32_t cols, std::span<const std::uint64_t> keys);

  /// What the constructor makes of arrays that are known to be a valid pattern; nothing is checked.
  static Topology of_valid(std::int32_t rows, std::int32_t cols, RawVector<std::int64_t> row_ptr,
                           RawVector<std::int32_t> columns);

  std::int32_t rows() const { return rows_; }
  std::int32_t cols() const { return cols_; }
  std::int64_t nnz() const { return static_cast<std::int64_t>(columns_.size()); }
  std::uint64_t cells() const {
    return static_cast<std::uint64_t>(rows_) * static_cast<std::uint64_t>(cols_);
  }
  double density() const {
    return cells() == 0 ? 0.0 : static_cast<double>(nnz()) / static_cast<double>(cells());
  }

  const RowPtr& row_ptr() const { return row_ptr_; }
  /// row_ptr() into the least memory (RowPtr::shrink()).
  void shrink_row_ptr() { row_ptr_.shrink(); }
  std::span<const std::int32_t> columns() const { return columns_; }
  std::span<const std::int32_t> row(std::int32_t r) const {
    const auto begin = static_cast<std::size_t>(row_ptr_[static_cast<std::size_t>(r)]);
    const auto end = static_cast<std::size_t>(row_ptr_[static_cast<std::size_t>(r) + 1]);
    return std::span(columns_).subspan(begin, end - begin);
  }
  /// Lets rewrite(columns) change the columns, rows staying as long. Throws std::invalid_argument if the
  /// pattern is not valid then. Cost: O(rows + nnz).
  void rewrite_columns(const std::function<void(std::span<std::int32_t> columns)>& rewrite);
  /// Whether the connection source -> target exists. Cost: O(log of the row's length).
  bool contains(std::int32_t target, std::int32_t source) const;
  /// All keys in order. Cost: O(nnz).
  std::vector<std::uint64_t> keys() const;
  /// The same for equal topologies, on every machine (XXH3-64 of the arrays).
  std::uint64_t hash() const;

  bool operator==(const Topology&) const = default;

 private:
  void check_rows(Range range) const;

  std::int32_t rows_ = 0;
  std::int32_t cols_ = 0;
  RowPtr row_ptr_;
  RawVector<std::int32_t> columns_;
};

/// The rows of a topology cut at tiles of its columns: cuts[t * rows + r] is where row r goes over from tile
/// t to tile t + 1; the first tile begins and the last one ends as row_ptr says. A single tile takes no
/// memory. The forward pass walks it tile by tile.
struct RowTiles {
  std::int32_t tiles = 1;
  std::vector<std::int64_t> cuts;
};

/// A topology read by source neuron, tile by tile of its targets: the connections from source s into tile t
/// are [source_ptr[t * cols + s], source_ptr[t * cols + s + 1]), each with its target, counted from the
/// tile's first one, and its position in the topology's own order; slots[k] is where connection k of that
/// order stands here. The backward pass walks it. Positions and slots of one tile are one range: what is
/// gathered through them stays near. 10 bytes per connection, 12 where tiles are wider than 65536.
struct SourceIndex {
  std::int32_t tiles = 1;
  std::int32_t width = 0;  // targets of a tile
  std::vector<std::int64_t> source_ptr;
  std::vector<std::uint16_t> near_targets;  // of tiles up to 65536 wide
  std::vector<std::int32_t> far_targets;    // of wider ones
  std::vector<std::uint32_t> positions, slots;

  std::int32_t target(std::size_t k) const { return far_targets.empty() ? near_targets[k] : far_targets[k]; }
};

/// Tiles of `count` neurons that suit connections of `density` between the layers: about equal, a multiple of
/// 16 wide, with at least some 10 connections for each neuron of the other layer and at least 128 wide. A
/// tile's activations then stay in the nearest caches while its connections are long enough to be worth a
/// loop.
std::int32_t tile_width(std::int32_t count, double density);

/// Cost: O(nnz + tiles * rows). `width`: columns of a tile.
RowTiles make_row_tiles(const Topology& topology, std::int32_t width);

/// Cost: O(nnz + tiles * cols). Throws std::invalid_argument from 2^32 connections on.
SourceIndex make_source_index(const Topology& topology, std::int32_t width);

}  // namespace tulle
