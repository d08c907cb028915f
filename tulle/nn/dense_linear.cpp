#include "tulle/nn/dense_linear.h"

#include <algorithm>

#include "tulle/base/parallel.h"
#include "tulle/kernels/gemm.h"

namespace tulle {
namespace {

// Tiles are a function of the shape alone, so that the bits do not depend on the thread count. Small outputs
// are cut along the samples too, to have work for every thread.
constexpr std::int64_t kTileRows = DenseLinear::kTile;

int lanes_per_tile(std::int64_t rows, int width) { return rows <= kTileRows ? std::min(width, 32) : width; }

// body(tile of rows) for [0, count) in tiles of kTileRows, shared out among the threads.
template <class Body>
void for_tiles(std::int64_t count, const Body& body) {
  parallel_ranges((count + kTileRows - 1) / kTileRows, 1, [&](Range tiles) {
    for (std::int64_t tile = tiles.begin; tile < tiles.end; ++tile)
      body(Range{tile * kTileRows, std::min(count, (tile + 1) * kTileRows)});
  });
}

// A dense layer has one form alone.
LayerOptions with_gradients(LayerOptions options) {
  options.storage = Storage::kFast;
  return options;
}

}  // namespace

DenseLinear::DenseLinear(const LayerOptions& options)
    : Layer(with_gradients(options),
            static_cast<std::size_t>(options.outputs) * static_cast<std::size_t>(options.inputs)) {}

void DenseLinear::multiply(Panels<const float> x, Panels<float> y, const kernels::Epilogue& epilogue) {
  const int lanes = lanes_per_tile(std::max(outputs(), options().whole_outputs), x.width);
  const std::int64_t tiles_per_panel = x.width / lanes;
  const std::int64_t row_tiles = (outputs() + kTileRows - 1) / kTileRows;
  parallel_ranges(x.count() * tiles_per_panel * row_tiles, 1, [&](Range tiles) {
    for (std::int64_t tile = tiles.begin; tile < tiles.end; ++tile) {
      const auto p = static_cast<std::int32_t>(tile / row_tiles / tiles_per_panel);
      const std::int64_t first_lane = tile / row_tiles % tiles_per_panel * lanes;
      const std::int64_t row = tile % row_tiles * kTileRows;
      const std::int64_t rows = std::min<std::int64_t>(kTileRows, outputs() - row);
      kernels::gemm(false, false, rows, lanes, inputs(), weight_.value.data() + row * inputs(), inputs(),
                    x.panel(p) + first_lane, x.width, false, y.panel(p) + row * x.width + first_lane,
                    x.width);
    }
  });
  for_tiles(outputs(), [&](Range rows) {
    for (std::int32_t p = 0; p < y.count(); ++p)
      kernels::apply_epilogue(rows, y.width, y.panel(p), of_panel(epilogue, p, outputs(), y.width));
  });
}

void DenseLinear::multiply_back(Panels<const float> x, Panels<const float> dz, Panels<float> dx,
                                const kernels::Gate& gate) {
  if (outputs() == 0) {  // of a layer with fewer outputs than ranks
    std::fill_n(dx.data, dx ? dx.count() * dx.panel_size() : 0, 0.0f);
    return;
  }
  for_tiles(outputs(), [&](Range rows) { sum_bias_gradients(rows, dz); });
  // Each tile of inputs owns its columns of the gradient and its rows of dx.
  for_tiles(inputs(), [&](Range in) {
    const std::int64_t count = in.end - in.begin;
    for (std::int32_t p = 0; p < x.count(); ++p) {
      kernels::gemm(false, true, outputs(), count, x.width, dz.panel(p), x.width,
                    x.panel(p) + in.begin * x.width, x.width, p > 0, weight_.gradient.data() + in.begin,
                    inputs());
      if (!dx) continue;
      kernels::gemm(true, false, count, x.width, outputs(), weight_.value.data() + in.begin, inputs(),
                    dz.panel(p), x.width, false, dx.panel(p) + in.begin * x.width, x.width);
      kernels::apply_gate(in, x.width, dx.panel(p), of_panel(gate, p, inputs(), x.width));
    }
  });
}

}  // namespace tulle
