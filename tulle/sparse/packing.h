#pragma once

#include <span>
#include <vector>

#include "tulle/base/aligned.h"
#include "tulle/base/parallel.h"
#include "tulle/kernels/packed.h"
#include "tulle/kernels/packed_bytes.h"
#include "tulle/kernels/spmv.h"
#include "tulle/sparse/topology.h"

namespace tulle {

/// Layers for inference: some rows of a topology with their weights, laid out in the order in which a kernel
/// uses them. All three are made in O(tiles * rows log rows + connections of the rows) and throw
/// std::invalid_argument if `values` are not one per connection or `rows` not the topology's.

/// Sources of a tile that suit packed_forward() at 64 samples, for activations of `bytes` each: about equal
/// tiles with some 20 connections per row (40 where activations take half), so that a tile's activations are
/// near and its rows long enough to be worth a loop, but at least 32 kB of activations. From the sweep in
/// docs/performance.md.
std::int32_t packed_tile_width(std::int32_t sources, double density, int bytes);

/// For panels of samples (kernels/packed.h). 6 bytes per connection and 4 to 12 per row and tile.
class PackedRows {
 public:
  /// `width`: sources of a tile, at most 65536.
  PackedRows(const Topology& topology, std::span<const float> values, Range rows, std::int32_t width);

  /// body(first source of the tile, the tile's connections, its place) for all tiles in their order.
  template <class Body>
  void for_tiles(const Body& body) const {
    for (std::size_t t = 0; t + 1 < tiles_.size(); ++t)
      body(static_cast<std::int64_t>(t) * width_,
           kernels::PackedTile{std::span(runs_).subspan(tiles_[t].run, tiles_[t + 1].run - tiles_[t].run),
                               rows_.data() + tiles_[t].row, columns_.data() + tiles_[t].connection,
                               values_.data() + tiles_[t].connection},
           kernels::Tile{.first = t == 0, .last = t + 2 == tiles_.size()});
  }

 private:
  struct Begin {
    std::size_t run, row, connection;
  };

  std::int64_t width_;
  std::vector<Begin> tiles_;  // and the end of the last one
  std::vector<kernels::PackedRun> runs_;
  std::vector<std::int32_t> rows_;
  std::vector<std::uint16_t> columns_;
  std::vector<float> values_;
};

/// For single samples (kernels/spmv.h). 6 bytes per connection and 8 per row and tile of 65536 sources.
class SlicedRows {
 public:
  SlicedRows(const Topology& topology, std::span<const float> values, Range rows);

  template <class Body>
  void for_tiles(const Body& body) const {
    for (std::size_t t = 0; t + 1 < tiles_.size(); ++t)
      body(static_cast<std::int64_t>(t) * kWidth,
           kernels::SlicedTile{
               static_cast<std::int64_t>((tiles_[t + 1].row - tiles_[t].row) / kernels::kSliceRows),
               rows_.data() + tiles_[t].row, lengths_.data() + tiles_[t].row,
               columns_.data() + tiles_[t].connection, values_.data() + tiles_[t].connection},
           kernels::Tile{.first = t == 0, .last = t + 2 == tiles_.size()});
  }

 private:
  static constexpr std::int32_t kWidth = 65536;
  struct Begin {
    std::size_t row, connection;
  };

  std::vector<Begin> tiles_;  // and the end of the last one
  std::vector<std::int32_t> rows_, lengths_;
  std::vector<std::uint16_t> columns_;
  std::vector<float> values_;
};

/// For panels of bytes (kernels/packed_bytes.h): each row's weights are multiples of its largest one's 127th
/// part. 3 bytes per connection and 12 per row.
class ByteRows {
 public:
  /// `input`: what the bytes of the layer's inputs mean. Throws std::invalid_argument for more than 65536
  /// sources.
  ByteRows(const Topology& topology, std::span<const float> values, Range rows,
           const kernels::ByteScale& input);

  kernels::ByteTile tile() const {
    return {runs_, rows_.data(), columns_.data(), values_.data(), scales_.data(), offsets_.data()};
  }

 private:
  std::vector<kernels::PackedRun> runs_;
  std::vector<std::int32_t> rows_;
  std::vector<std::uint16_t> columns_;
  std::vector<std::int8_t> values_;
  std::vector<float> scales_;  // of every row of the topology
  std::vector<std::int32_t> offsets_;
};

}  // namespace tulle
