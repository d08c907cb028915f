#include "tulle/sparse/packing.h"

#include <algorithm>
#include <cmath>

#include "tulle/base/check.h"

namespace tulle {
namespace {

constexpr std::int32_t kMostSources = 65536;  // of a tile: their numbers take 16 bits

// The piece of one row that lies in a tile.
struct Piece {
  std::int32_t row;
  std::size_t begin, end;  // connections
  std::size_t length() const { return end - begin; }
};

// body(first source, pieces) for each tile of `width` sources: the pieces of all rows, those of a middle tile
// that are not empty, the shortest first and otherwise in the order of rows.
template <class Body>
void for_pieces(const Topology& topology, std::span<const float> values, Range rows, std::int32_t width,
                const Body& body) {
  require(static_cast<std::int64_t>(values.size()) == topology.nnz(), "packing: one value per connection");
  require(rows.begin >= 0 && rows.begin <= rows.end && rows.end <= topology.rows(),
          "packing: the rows must be the topology's");
  require(width > 0 && width <= kMostSources, "packing: a tile must have 1 to 65536 sources");
  const std::int32_t tiles = std::max(1, topology.cols() / width + (topology.cols() % width != 0 ? 1 : 0));
  std::vector<Piece> all, pieces;
  for (std::int64_t r = rows.begin; r < rows.end; ++r) {
    const auto begin = static_cast<std::size_t>(topology.row_ptr()[static_cast<std::size_t>(r)]);
    all.push_back({static_cast<std::int32_t>(r), begin, begin});
  }
  for (std::int32_t t = 0; t < tiles; ++t) {
    const std::int64_t first = std::int64_t{t} * width;
    pieces.clear();
    for (Piece& piece : all) {
      const auto limit =
          static_cast<std::size_t>(topology.row_ptr()[static_cast<std::size_t>(piece.row) + 1]);
      piece.begin = piece.end;
      while (piece.end < limit && topology.columns()[piece.end] < first + width) ++piece.end;
      if (t == 0 || t + 1 == tiles || piece.length() > 0) pieces.push_back(piece);
    }
    std::ranges::stable_sort(pieces, {}, &Piece::length);
    body(first, std::span<const Piece>(pieces));
  }
}

// One more row of `length` for the runs from `first` on.
void add_row(std::vector<kernels::PackedRun>& runs, std::size_t first, std::size_t length) {
  const auto wanted = static_cast<std::int32_t>(length);
  if (runs.size() == first || runs.back().length != wanted) runs.push_back({.rows = 0, .length = wanted});
  ++runs.back().rows;
}

}  // namespace

std::int32_t packed_tile_width(std::int32_t sources, double density, int bytes) {
  constexpr double kLeast = 128.0, kConnections = 20.0;  // of floats
  const double smaller = 4.0 / bytes, all = std::max(1.0, static_cast<double>(sources));
  const double wanted =
      density * all > kConnections ? std::max(kLeast, kConnections / density) * smaller : all;
  const auto tiles = std::max({1.0, std::floor(all / wanted + 0.5), std::ceil(all / kMostSources)});
  return static_cast<std::int32_t>(std::ceil(all / tiles));
}

PackedRows::PackedRows(const Topology& topology, std::span<const float> values, Range rows,
                       std::int32_t width)
    : width_(width) {
  for_pieces(topology, values, rows, width, [&](std::int64_t first, std::span<const Piece> pieces) {
    const std::size_t first_run = runs_.size();
    tiles_.push_back({first_run, rows_.size(), values_.size()});
    for (const Piece& piece : pieces) {
      add_row(runs_, first_run, piece.length());
      rows_.push_back(piece.row);
      for (std::size_t k = piece.begin; k < piece.end; ++k) {
        columns_.push_back(static_cast<std::uint16_t>(topology.columns()[k] - first));
        values_.push_back(values[k]);
      }
    }
  });
  tiles_.push_back({runs_.size(), rows_.size(), values_.size()});
}

SlicedRows::SlicedRows(const Topology& topology, std::span<const float> values, Range rows) {
  constexpr std::size_t kRows = kernels::kSliceRows;
  for_pieces(topology, values, rows, kWidth, [&](std::int64_t first, std::span<const Piece> pieces) {
    tiles_.push_back({rows_.size(), values_.size()});
    const auto add = [&](std::size_t k) {
      columns_.push_back(static_cast<std::uint16_t>(topology.columns()[k] - first));
      values_.push_back(values[k]);
    };
    while (!pieces.empty()) {
      // The longest rows make whole slices; the first slice repeats its first row, without connections.
      const std::size_t count = pieces.size() % kRows == 0 ? kRows : pieces.size() % kRows;
      std::vector<Piece> slice(kRows - count, {pieces[0].row, 0, 0});
      slice.insert(slice.end(), pieces.begin(), pieces.begin() + static_cast<std::ptrdiff_t>(count));
      pieces = pieces.subspan(count);
      for (const Piece& piece : slice) {
        rows_.push_back(piece.row);
        lengths_.push_back(static_cast<std::int32_t>(piece.length()));
      }
      const std::size_t common = slice[0].length();
      for (std::size_t k = 0; k < common; ++k)
        for (const Piece& piece : slice) add(piece.begin + k);
      for (const Piece& piece : slice)
        for (std::size_t k = piece.begin + common; k < piece.end; ++k) add(k);
    }
  });
  tiles_.push_back({rows_.size(), values_.size()});
}

ByteRows::ByteRows(const Topology& topology, std::span<const float> values, Range rows,
                   const kernels::ByteScale& input)
    : scales_(static_cast<std::size_t>(topology.rows()), 0.0f),
      offsets_(static_cast<std::size_t>(topology.rows()), 0) {
  require(topology.cols() <= kMostSources, "ByteRows: a layer of bytes must have at most 65536 sources");
  for_pieces(topology, values, rows, kMostSources, [&](std::int64_t, std::span<const Piece> pieces) {
    for (const Piece& piece : pieces) {
      float largest = 0.0f;
      for (std::size_t k = piece.begin; k < piece.end; ++k) largest = std::max(largest, std::abs(values[k]));
      const float scale = largest / 127.0f;
      std::int32_t sum = 0;
      for (std::size_t k = piece.begin; k < piece.end; ++k) {
        const auto value =
            scale > 0.0f ? static_cast<std::int8_t>(std::lround(values[k] / scale)) : std::int8_t{0};
        sum += value;
        columns_.push_back(static_cast<std::uint16_t>(topology.columns()[k]));
        values_.push_back(value);
      }
      while (values_.size() % kernels::kByteGroup != 0) {
        columns_.push_back(static_cast<std::uint16_t>(topology.columns()[piece.begin]));
        values_.push_back(0);
      }
      add_row(runs_, 0, (piece.length() + kernels::kByteGroup - 1) / kernels::kByteGroup);
      rows_.push_back(piece.row);
      scales_[static_cast<std::size_t>(piece.row)] = scale * input.scale;
      offsets_[static_cast<std::size_t>(piece.row)] = -input.zero * sum;
    }
  });
}

}  // namespace tulle
