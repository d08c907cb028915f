#include "tulle/kernels/gather.h"

#include <algorithm>

namespace tulle::kernels {
namespace {

constexpr std::int64_t kSide =
    16;  // samples and features of a block; 16 floats fill one cache line of the panel
constexpr std::int64_t kBlock = kSide * kSide;

// Interleaves the two halves of a block, like a deck of cards. Four times in a row transposes 16 x 16 values,
// and every round is a loop of whole vectors. Kept out of line because GCC 12 at -O3 would otherwise unroll
// the rounds into each other and fall back to single values: half the speed.
template <class T>
[[gnu::noinline]] void riffle(const T* __restrict in, T* __restrict out) {
  for (std::int64_t k = 0; k < kBlock / 2; ++k) {
    out[2 * k] = in[k];
    out[2 * k + 1] = in[k + kBlock / 2];
  }
}

// One line of the panel: a feature of 16 samples.
template <class T>
[[gnu::noinline]] void scale_line(const T* __restrict in, float mean, float factor, float* __restrict out) {
  for (std::int64_t s = 0; s < kSide; ++s) out[s] = (static_cast<float>(in[s]) - mean) * factor;
}

// A length the compiler knows is one vector's copy instead of a call.
template <class T>
void copy_row(const T* row, std::int64_t length, T* out) {
  if (length == kSide)
    std::copy_n(row, kSide, out);
  else
    std::copy_n(row, length, out);
}

// Goes along 16 rows at a time, so that the processor foresees what is read next.
template <class T>
void gather(const T* rows, std::int64_t row_stride, std::span<const std::uint32_t> samples, Range features,
            const float* mean, const float* factor, float* panel, int width) {
  T block[kBlock] = {}, turned[kBlock];
  const auto count = static_cast<std::int64_t>(samples.size());
  for (std::int64_t line = 0; line < width; line += kSide) {
    const std::int64_t used = std::clamp(count - line, std::int64_t{0}, kSide);
    for (std::int64_t first = features.begin; first < features.end; first += kSide) {
      const std::int64_t length = std::min(kSide, features.end - first);
      for (std::int64_t s = 0; s < used; ++s)
        copy_row(rows + samples[static_cast<std::size_t>(line + s)] * row_stride + first, length,
                 block + s * kSide);
      riffle(block, turned);
      riffle(turned, block);
      riffle(block, turned);
      riffle(turned, block);
      for (std::int64_t f = 0; f < length; ++f) {
        float* const out = panel + (first + f) * width + line;
        scale_line(block + f * kSide, mean[first + f], factor[first + f], out);
        std::fill(out + used, out + kSide, 0.0f);
      }
    }
  }
}

}  // namespace

void gather_panel(const std::uint8_t* rows, std::int64_t row_stride, std::span<const std::uint32_t> samples,
                  Range features, const float* mean, const float* factor, float* panel, int width) noexcept {
  gather(rows, row_stride, samples, features, mean, factor, panel, width);
}

void gather_panel(const float* rows, std::int64_t row_stride, std::span<const std::uint32_t> samples,
                  Range features, const float* mean, const float* factor, float* panel, int width) noexcept {
  gather(rows, row_stride, samples, features, mean, factor, panel, width);
}

}  // namespace tulle::kernels
