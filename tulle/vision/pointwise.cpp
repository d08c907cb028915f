#include "tulle/vision/pointwise.h"

#include "tulle/kernels/gelu.h"
#include "tulle/kernels/spmm.h"
#include "tulle/kernels/targets.h"
#include "tulle/kernels/tokens.h"

namespace tulle {
namespace {

// Rows of tokens as panels, and back.
void fill_panels(const float* x, std::int64_t rows, Panels<float> panels) {
  parallel_ranges(panels.count(), 1, [&](Range range) {
    for (auto p = static_cast<std::int32_t>(range.begin); p < range.end; ++p) {
      const std::int64_t first = std::int64_t{p} * panels.width;
      kernels::to_panel(x + first * panels.features, panels.features,
                        std::min<std::int64_t>(panels.width, rows - first), panels.features, panels.width,
                        panels.panel(p));
    }
  });
}

void read_panels(Panels<const float> panels, std::int64_t rows, float* x) {
  parallel_ranges(panels.count(), 1, [&](Range range) {
    for (auto p = static_cast<std::int32_t>(range.begin); p < range.end; ++p) {
      const std::int64_t first = std::int64_t{p} * panels.width;
      kernels::from_panel(panels.panel(p), std::min<std::int64_t>(panels.width, rows - first),
                          panels.features, panels.width, x + first * panels.features);
    }
  });
}

// sum += value
void add_to(AlignedVector<float>& sum, const AlignedVector<float>& value) {
  parallel_ranges(std::ssize(sum), 4096, [&](Range range) {
    for (auto i = static_cast<std::size_t>(range.begin); i < static_cast<std::size_t>(range.end); ++i)
      sum[i] += value[i];
  });
}

}  // namespace

Pointwise::Pointwise(Layer& layer, bool bf16)
    : layer_(layer), width_(std::max(16, kernels::panel_width(64))), bf16_(bf16) {}

void Pointwise::prepare(bool with_back) {
  if (const Topology* const topology = layer_.topology(); topology != nullptr) {
    packed_.reset();
    if (!with_back)
      packed_.emplace(*topology, layer_.weight().value, Range{0, outputs()},
                      packed_tile_width(inputs(), topology->density(), sizeof(float)));
    return;
  }
  if (!there_) there_.emplace(inputs(), outputs(), bf16_);
  there_->pack(layer_.weight().value.data(), inputs(), /*transposed=*/true);
  if (!with_back) return;
  if (!back_) back_.emplace(outputs(), inputs(), bf16_);
  back_->pack(layer_.weight().value.data(), inputs(), /*transposed=*/false);
}

namespace {

// The narrowest panel for `rows` tokens, of 64 at most.
int width_for(std::int64_t rows) { return rows > 32 ? 64 : rows > 16 ? 32 : 16; }

}  // namespace

void Pointwise::multiply_panel(int width, const float* x, const float* bias, float* y) const {
  if (packed_) {
    packed_->for_tiles([&](std::int64_t first, const kernels::PackedTile& tile, kernels::Tile place) {
      kernels::packed_forward(tile, width, x + first * width, y, {.bias = bias}, place);
    });
    return;
  }
  const Topology& topology = *layer_.topology();
  kernels::spmm_forward({topology.row_ptr().wide().data(), topology.row_ptr().wide().data() + 1,
                         topology.columns().data(), layer_.weight().value.data()},
                        {0, outputs()}, width, x, y, {.bias = bias});
}

void Pointwise::forward(std::int64_t rows, const float* x, float* y) const {
  if (!is_sparse()) return there_->multiply(rows, x, inputs(), /*add=*/false, y, outputs());
  thread_local Workspace x_panel, y_panel;
  float* const in = x_panel.get(std::int64_t{inputs()} * 64);
  float* const out = y_panel.get(std::int64_t{outputs()} * 64);
  for (std::int64_t first = 0; first < rows;) {
    const int width = width_for(rows - first);
    const std::int64_t count = std::min<std::int64_t>(width, rows - first);
    kernels::to_panel(x + first * inputs(), inputs(), count, inputs(), width, in);
    multiply_panel(width, in, nullptr, out);
    kernels::from_panel(out, count, outputs(), width, y + first * outputs());
    first += count;
  }
}

void Pointwise::forward_both(const Pointwise& first, const Pointwise& second, std::int64_t rows,
                             const float* x, float* y) {
  thread_local Workspace x_panel, hidden_panel, y_panel;
  const std::int64_t inputs = first.inputs(), hidden = first.outputs(), outputs = second.outputs();
  float* const in = x_panel.get(inputs * 64);
  float* const z = hidden_panel.get(hidden * 64);
  float* const out = y_panel.get(outputs * 64);
  for (std::int64_t at = 0; at < rows;) {
    const int width = width_for(rows - at);
    const std::int64_t count = std::min<std::int64_t>(width, rows - at);
    kernels::to_panel(x + at * inputs, inputs, count, inputs, width, in);
    first.multiply_panel(width, in, first.bias(), z);
    kernels::gelu(z, hidden * width, z);
    second.multiply_panel(width, z, second.bias(), out);
    kernels::from_panel(out, count, outputs, width, y + at * outputs);
    at += count;
  }
}

void Pointwise::backward(std::int64_t rows, const float* x, const float* g, float* dx, bool first,
                         PanelScratch& scratch) {
  layer_.topology() == nullptr ? backward_dense(rows, x, g, dx, first)
                               : backward_sparse(rows, x, g, dx, first, scratch);
}

void Pointwise::backward_dense(std::int64_t rows, const float* x, const float* g, float* dx, bool first) {
  if (dx != nullptr)
    for_tiles(Tiles(rows, std::int64_t{inputs()} * outputs()), [&](std::int64_t, Range tile) {
      back_->multiply(tile.end - tile.begin, g + tile.begin * outputs(), outputs(), /*add=*/false,
                      dx + tile.begin * inputs(), inputs());
    });
  // Each task owns a tile of the gradient; small matrices are cut along both sides, to have four at least.
  constexpr std::int32_t kRows = 64;
  const std::int32_t row_tiles = (outputs() + kRows - 1) / kRows;
  const std::int32_t column_tiles = row_tiles >= 4 ? 1 : (3 + row_tiles) / row_tiles;
  const bool has_bias = layer_.options().has_bias;
  if (first && has_bias) std::ranges::fill(layer_.bias().gradient, 0.0f);
  parallel_parts(row_tiles * column_tiles, [&](int task) {
    const std::int64_t row = task / column_tiles * kRows,
                       high = std::min<std::int64_t>(kRows, outputs() - row);
    const Range columns = even_range(inputs(), column_tiles, task % column_tiles, 16);
    if (columns.begin < columns.end)
      kernels::gemm(true, false, high, columns.end - columns.begin, rows, g + row, outputs(),
                    x + columns.begin, inputs(), !first,
                    layer_.weight().gradient.data() + row * inputs() + columns.begin, inputs());
    if (has_bias && task % column_tiles == 0)
      kernels::add_channel_sums(g + row, outputs(), rows, high, layer_.bias().gradient.data() + row);
  });
}

// The layer's own backward pass makes the gradients of one chunk, where those of the chunks before were:
// these wait beside it.
void Pointwise::backward_sparse(std::int64_t rows, const float* x, const float* g, float* dx, bool first,
                                PanelScratch& scratch) {
  const auto batch = static_cast<std::int32_t>(rows);
  last_rows_ = batch;
  PanelScratch& own = keeps_panels_ ? kept_ : scratch;
  const Panels<float> in = own.x.view(inputs(), batch, width_), out = own.g.view(outputs(), batch, width_);
  fill_panels(x, rows, in);
  fill_panels(g, rows, out);
  const Panels<float> back = dx == nullptr ? Panels<float>{} : scratch.dx.view(inputs(), batch, width_);
  AlignedVector<float>&weight = layer_.weight().gradient, &bias = layer_.bias().gradient;
  if (!first) {
    before_.resize(weight.size());
    before_.swap(weight);
    bias_before_ = bias;
  }
  layer_.backward(in, out, back, nullptr);
  if (dx != nullptr) read_panels(back, rows, dx);
  if (first) return;
  add_to(weight, before_);
  add_to(bias, bias_before_);
}

}  // namespace tulle
