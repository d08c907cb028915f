#pragma once

#include <algorithm>
#include <cstdint>

#include "tulle/base/aligned.h"
#include "tulle/base/parallel.h"
#include "tulle/kernels/gemm.h"

namespace tulle {

/// The tokens of one stage: activations are [image][row][column][channel], a matrix of tokens x channels.
struct Grid {
  int height = 0, width = 0;
  std::int32_t channels = 0;

  std::int64_t tokens() const { return std::int64_t{height} * width; }
};

/// Images that go through a block together, so that what lies between its steps stays in the caches.
struct Chunk {
  std::int64_t index = 0;  // of all chunks of the batch
  std::int64_t first = 0, images = 0;
};

/// How many images make a chunk.
inline std::int64_t images_per_chunk(const Grid& grid) {
  constexpr std::int64_t kTokens = 3136;
  return std::max<std::int64_t>(1, kTokens / grid.tokens());
}

/// body(chunk) for all chunks of a batch of `images`, in order.
template <class Body>
void for_chunks(const Grid& grid, std::int64_t images, const Body& body) {
  const std::int64_t most = images_per_chunk(grid);
  for (Chunk chunk; chunk.first < images; ++chunk.index, chunk.first += chunk.images) {
    chunk.images = std::min(most, images - chunk.first);
    body(chunk);
  }
}

/// Rows shared out in tiles: an even number of about equal ones, each with work for some 100 microseconds.
/// They follow from the shape alone, so that results do not depend on the number of threads.
struct Tiles {
  std::int64_t rows = 0, per_tile = 1, count = 0;

  /// `cost`: multiplications of one row; tiles but the last have a multiple of `grain` rows.
  Tiles(std::int64_t all_rows, std::int64_t cost, std::int64_t grain = 1) : rows(all_rows) {
    constexpr std::int64_t kWork = 8'000'000, kLeast = 49, kMost = 512;
    const std::int64_t wanted = std::clamp(kWork / std::max<std::int64_t>(cost, 1), kLeast, kMost);
    count = std::max<std::int64_t>(2, (rows + wanted - 1) / wanted);
    count += count % 2;
    per_tile = std::max<std::int64_t>(1, (rows + count - 1) / count);
    per_tile = (per_tile + grain - 1) / grain * grain;
    count = (rows + per_tile - 1) / per_tile;
  }
  Range tile(std::int64_t t) const { return {t * per_tile, std::min(rows, (t + 1) * per_tile)}; }
};

/// body(index of the tile, its rows), each tile on one thread.
template <class Body>
void for_tiles(const Tiles& tiles, const Body& body) {
  parallel_parts(static_cast<int>(tiles.count), [&](int t) {
    const kernels::ProductScope scope;
    body(std::int64_t{t}, tiles.tile(t));
  });
}

/// Memory that grows to what is asked for and is not cleared.
class Workspace {
 public:
  float* get(std::int64_t values) {
    if (static_cast<std::int64_t>(memory_.size()) < values) memory_.resize(static_cast<std::size_t>(values));
    return memory_.data();
  }

 private:
  AlignedVector<float> memory_;
};

}  // namespace tulle
