#include "tulle/sparse/topology.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <utility>

#include "tulle/base/check.h"
#include "tulle/base/parallel.h"

namespace tulle {

Topology::Topology(std::int32_t rows, std::int32_t cols, RawVector<std::int64_t> row_ptr,
                   RawVector<std::int32_t> columns)
    : rows_(rows), cols_(cols), row_ptr_(std::move(row_ptr)), columns_(std::move(columns)) {
  require(rows >= 0 && cols >= 0, "Topology: rows and columns must not be negative");
  require(row_ptr_.size() == static_cast<std::size_t>(rows) + 1,
          "Topology: row_ptr must have rows + 1 entries");
  require(row_ptr_.front() == 0 && row_ptr_.back() == nnz(), "Topology: row_ptr must run from 0 to nnz");
  parallel_ranges(rows, 1 << 12, [&](Range range) { check_rows(range); });
}

Topology Topology::of_valid(std::int32_t rows, std::int32_t cols, RawVector<std::int64_t> row_ptr,
                            RawVector<std::int32_t> columns) {
  Topology topology;
  topology.rows_ = rows;
  topology.cols_ = cols;
  topology.row_ptr_ = RowPtr(std::move(row_ptr));
  topology.columns_ = std::move(columns);
  return topology;
}

void Topology::check_rows(Range range) const {
  for (auto r = static_cast<std::size_t>(range.begin); r < static_cast<std::size_t>(range.end); ++r) {
    const std::int64_t begin = row_ptr_[r], end = row_ptr_[r + 1];
    if (begin > end || end > nnz())
      throw std::invalid_argument(
          fmt::format("Topology: row_ptr[{}] = {}, expected {}..{}", r + 1, end, begin, nnz()));
    std::int32_t previous = -1;
    for (std::int64_t k = begin; k < end; ++k) {
      const std::int32_t column = columns_[static_cast<std::size_t>(k)];
      if (column <= previous || column >= cols_)
        throw std::invalid_argument(
            fmt::format("Topology: row {} has column {} after {}, expected strictly increasing and below {}",
                        r, column, previous, cols_));
      previous = column;
    }
  }
}

Topology Topology::from_keys(std::int32_t rows, std::int32_t cols, std::span<const std::uint64_t> keys) {
  require(rows >= 0 && cols >= 0, "Topology: rows and columns must not be negative");
  require(cols > 0 || keys.empty(), "Topology: there are no connections without columns");
  RawVector<std::int64_t> row_ptr(static_cast<std::size_t>(rows) + 1);
  RawVector<std::int32_t> columns(keys.size());
  row_ptr[0] = 0;
  const auto width = static_cast<std::uint64_t>(cols);
  const std::uint64_t cells = static_cast<std::uint64_t>(rows) * width;
  // Rows (from, to] begin at connection k.
  const auto begin_rows = [&](std::uint64_t from, std::uint64_t to, std::size_t k) {
    for (std::uint64_t r = from + 1; r <= to; ++r) row_ptr[r] = static_cast<std::int64_t>(k);
  };
  parallel_ranges(std::ssize(keys), 1 << 12, [&](Range range) {
    const auto first = static_cast<std::size_t>(range.begin);
    std::uint64_t row = first == 0 ? 0 : keys[first - 1] / width;
    for (std::size_t k = first; k < static_cast<std::size_t>(range.end); ++k) {
      require(keys[k] < cells, "Topology: a key lies outside the layer");
      require(k == 0 || keys[k - 1] < keys[k], "Topology: keys must be strictly increasing");
      if (const std::uint64_t next = row + 1; keys[k] >= next * width) {
        const std::uint64_t here = keys[k] < (next + 1) * width ? next : keys[k] / width;
        begin_rows(row, here, k);
        row = here;
      }
      columns[k] = static_cast<std::int32_t>(keys[k] - row * width);
    }
  });
  const std::uint64_t last = keys.empty() ? 0 : keys.back() / width;
  begin_rows(last, static_cast<std::uint64_t>(rows), keys.size());
  return of_valid(rows, cols, std::move(row_ptr), std::move(columns));
}

void Topology::rewrite_columns(const std::function<void(std::span<std::int32_t>)>& rewrite) {
  rewrite(columns_);
  parallel_ranges(rows_, 1 << 12, [&](Range range) { check_rows(range); });
}

bool Topology::contains(std::int32_t target, std::int32_t source) const {
  const auto sources = row(target);
  return std::binary_search(sources.begin(), sources.end(), source);
}

std::vector<std::uint64_t> Topology::keys() const {
  std::vector<std::uint64_t> keys;
  keys.reserve(columns_.size());
  for (std::int32_t r = 0; r < rows_; ++r)
    for (const std::int32_t column : row(r))
      keys.push_back(static_cast<std::uint64_t>(r) * static_cast<std::uint64_t>(cols_) +
                     static_cast<std::uint64_t>(column));
  return keys;
}

std::uint64_t Topology::hash() const {
  const std::uint64_t shape = static_cast<std::uint64_t>(rows_) << 32 | static_cast<std::uint64_t>(cols_);
  // As an array of 8 bytes each, a piece at a time.
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(), XXH3_freeState);
  XXH3_64bits_reset_withSeed(state.get(), shape);
  std::array<std::int64_t, 1024> piece;
  for (std::size_t at = 0; at < row_ptr_.size(); at += piece.size()) {
    const std::size_t count = std::min(piece.size(), row_ptr_.size() - at);
    row_ptr_.copy(at, std::span(piece).first(count));
    XXH3_64bits_update(state.get(), piece.data(), count * sizeof(std::int64_t));
  }
  const std::uint64_t rows_hash = XXH3_64bits_digest(state.get());
  return XXH3_64bits_withSeed(columns_.data(), columns_.size() * sizeof(std::int32_t), rows_hash);
}

namespace {

// How many tiles of `width` hold `count` neurons; one for none.
std::int32_t tiles_for(std::int32_t count, std::int32_t width) {
  return std::max(1, count / width + (count % width != 0 ? 1 : 0));
}

}  // namespace

std::int32_t tile_width(std::int32_t count, double density) {
  constexpr double kLeast = 128.0, kConnections = 10.0;
  constexpr double kNearL1 = 192.0;  // at 128 samples 512 bytes for each neuron: 96 kB
  constexpr double kInL2 = 1024.0;   // 512 kB
  constexpr std::int32_t kMultiple = 16;
  const double neurons = std::max(1.0, static_cast<double>(count));
  const double wanted = density * neurons > kConnections ? std::max(kLeast, kConnections / density) : neurons;
  // Between both caches tiles would only cut the connections of a neuron into pieces.
  if (wanted > kNearL1 && neurons <= kInL2) return std::max(1, count);
  const std::int32_t tiles = std::max(1, static_cast<std::int32_t>(neurons / wanted + 0.5));
  const std::int32_t equal = tiles_for(count, tiles);
  return tiles == 1 ? equal : tiles_for(equal, kMultiple) * kMultiple;
}

RowTiles make_row_tiles(const Topology& topology, std::int32_t width) {
  require(width > 0, "make_row_tiles: a tile must have columns");
  RowTiles tiles{.tiles = tiles_for(topology.cols(), width), .cuts = {}};
  const auto rows = static_cast<std::size_t>(topology.rows());
  const auto cuts = static_cast<std::size_t>(tiles.tiles) - 1;
  tiles.cuts.resize(cuts * rows);
  for (std::size_t r = 0; r < rows; ++r) {
    std::int64_t k = topology.row_ptr()[r];
    const std::int64_t end = topology.row_ptr()[r + 1];
    for (std::size_t t = 0; t < cuts; ++t) {
      const std::int64_t limit = (static_cast<std::int64_t>(t) + 1) * width;
      while (k < end && topology.columns()[static_cast<std::size_t>(k)] < limit) ++k;
      tiles.cuts[t * rows + r] = k;
    }
  }
  return tiles;
}

SourceIndex make_source_index(const Topology& topology, std::int32_t width) {
  require(topology.nnz() < std::int64_t{std::numeric_limits<std::uint32_t>::max()},
          "make_source_index: a layer must have fewer than 2^32 connections");
  require(width > 0, "make_source_index: a tile must have targets");
  const auto nnz = static_cast<std::size_t>(topology.nnz());
  const auto cols = static_cast<std::size_t>(topology.cols());
  const bool near = width <= 1 << 16;
  SourceIndex index{.tiles = tiles_for(topology.rows(), width),
                    .width = width,
                    .source_ptr = {},
                    .near_targets = std::vector<std::uint16_t>(near ? nnz : 0),
                    .far_targets = std::vector<std::int32_t>(near ? 0 : nnz),
                    .positions = std::vector<std::uint32_t>(nnz),
                    .slots = std::vector<std::uint32_t>(nnz)};
  index.source_ptr.assign(static_cast<std::size_t>(index.tiles) * cols + 1, 0);
  std::vector<std::int64_t> next(cols);
  for (std::int32_t t = 0; t < index.tiles; ++t) {
    const std::int32_t first = t * width, end = first + std::min(topology.rows() - first, width);
    std::int64_t* const ptr = index.source_ptr.data() + static_cast<std::size_t>(t) * cols;
    const std::int64_t begin_k = topology.row_ptr()[static_cast<std::size_t>(first)];
    const std::int64_t end_k = topology.row_ptr()[static_cast<std::size_t>(end)];
    std::fill(next.begin(), next.end(), 0);
    for (std::int64_t k = begin_k; k < end_k; ++k)
      ++next[static_cast<std::size_t>(topology.columns()[static_cast<std::size_t>(k)])];
    std::int64_t sum = begin_k;
    for (std::size_t s = 0; s < cols; ++s) {
      ptr[s] = sum;
      sum += std::exchange(next[s], sum);
    }
    ptr[cols] = sum;
    auto position = static_cast<std::uint32_t>(begin_k);
    for (std::int32_t r = first; r < end; ++r) {
      for (const std::int32_t column : topology.row(r)) {
        const auto slot = static_cast<std::size_t>(next[static_cast<std::size_t>(column)]++);
        if (near)
          index.near_targets[slot] = static_cast<std::uint16_t>(r - first);
        else
          index.far_targets[slot] = r - first;
        index.slots[position] = static_cast<std::uint32_t>(slot);
        index.positions[slot] = position++;
      }
    }
  }
  return index;
}

}  // namespace tulle
