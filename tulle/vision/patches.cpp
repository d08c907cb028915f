#include "tulle/vision/patches.h"

namespace tulle {

Patches::Patches(const std::string& name, std::int32_t inputs, std::int32_t outputs, int side, bool bf16)
    : inputs_(inputs),
      outputs_(outputs),
      side_(side),
      weight_(name, Parameter::Kind::kWeight,
              static_cast<std::size_t>(std::int64_t{outputs} * side * side * inputs)),
      ordered_(weight_.value.size()),
      there_(patch_values(), outputs, bf16),
      back_(outputs, patch_values(), bf16) {}

void Patches::add_arrays(std::vector<NamedArray>& arrays) {
  arrays.push_back({weight_.name, {outputs_, inputs_, side_, side_}, &weight_.value});
}

namespace {

// body(place in [outputs][inputs][places], place in [outputs][places][inputs]).
template <class Body>
void for_places(std::int64_t outputs, std::int64_t inputs, std::int64_t places, const Body& body) {
  for (std::int64_t o = 0; o < outputs; ++o)
    for (std::int64_t i = 0; i < inputs; ++i)
      for (std::int64_t p = 0; p < places; ++p)
        body(static_cast<std::size_t>((o * inputs + i) * places + p),
             static_cast<std::size_t>((o * places + p) * inputs + i));
}

}  // namespace

void Patches::prepare(bool with_back) {
  for_places(outputs_, inputs_, std::int64_t{side_} * side_,
             [&](std::size_t file, std::size_t here) { ordered_[here] = weight_.value[file]; });
  there_.pack(ordered_.data(), patch_values(), /*transposed=*/true);
  if (with_back) back_.pack(ordered_.data(), patch_values(), /*transposed=*/false);
}

void Patches::forward(std::int64_t rows, const float* patches, float* y) const {
  const std::int64_t k = patch_values();
  for_tiles(Tiles(rows, k * outputs_), [&](std::int64_t, Range tile) {
    there_.multiply(tile.end - tile.begin, patches + tile.begin * k, k, /*add=*/false,
                    y + tile.begin * outputs_, outputs_);
  });
}

void Patches::backward(std::int64_t rows, const float* g,
                       const std::function<void(Range rows, const float* dpatches)>& take) const {
  const std::int64_t k = patch_values();
  for_tiles(Tiles(rows, k * outputs_), [&](std::int64_t, Range tile) {
    thread_local Workspace dpatches_of;
    float* const dpatches = dpatches_of.get((tile.end - tile.begin) * k);
    back_.multiply(tile.end - tile.begin, g + tile.begin * outputs_, outputs_, /*add=*/false, dpatches, k);
    take(tile, dpatches);
  });
}

void Patches::add_gradient(std::int64_t rows, const float* patches, const float* g, bool first) {
  const std::int64_t k = patch_values();
  ordered_gradient_.resize(ordered_.size());
  constexpr std::int32_t kRows = 32;
  parallel_parts((outputs_ + kRows - 1) / kRows, [&](int task) {
    const std::int64_t row = task * kRows, high = std::min<std::int64_t>(kRows, outputs_ - row);
    kernels::gemm(true, false, high, k, rows, g + row, outputs_, patches, k, !first,
                  ordered_gradient_.data() + row * k, k);
  });
  for_places(outputs_, inputs_, std::int64_t{side_} * side_,
             [&](std::size_t file, std::size_t here) { weight_.gradient[file] = ordered_gradient_[here]; });
}

void gather_merge(const Grid& grid, std::int64_t images, const float* x, float* patches) {
  const std::int64_t c = grid.channels, w = grid.width, pair = 2 * c;
  const std::int64_t rows = grid.height / 2, columns = grid.width / 2;
  parallel_ranges(images * rows, 1, [&](Range range) {
    for (std::int64_t i = range.begin; i < range.end; ++i) {
      const float* const above = x + (i / rows * grid.tokens() + i % rows * 2 * w) * c;
      float* out = patches + i * columns * 2 * pair;
      for (std::int64_t column = 0; column < columns; ++column, out += 2 * pair) {
        std::copy_n(above + column * pair, pair, out);
        std::copy_n(above + w * c + column * pair, pair, out + pair);
      }
    }
  });
}

void scatter_merge(const Grid& grid, Range patches, const float* dpatches, float* dx) {
  const std::int64_t c = grid.channels, w = grid.width, pair = 2 * c;
  const std::int64_t rows = grid.height / 2, columns = grid.width / 2;
  for (std::int64_t i = patches.begin; i < patches.end; ++i, dpatches += 2 * pair) {
    const std::int64_t image = i / (rows * columns), place = i % (rows * columns);
    float* const above = dx + (image * grid.tokens() + place / columns * 2 * w) * c + place % columns * pair;
    std::copy_n(dpatches, pair, above);
    std::copy_n(dpatches + pair, pair, above + w * c);
  }
}

}  // namespace tulle
