#include "tulle/base/random.h"

#include <Random123/philox.h>

#include <cmath>
#include <numbers>
#include <numeric>
#include <utility>

namespace tulle {

std::uint32_t stream_word(Stream stream, std::uint32_t layer) {
  return static_cast<std::uint32_t>(stream) << 24 | (layer & 0xffffffu);
}

std::array<std::uint32_t, 4> Random::words(std::uint64_t index) const {
  const philox4x32_ctr_t counter{{stream_word(stream, layer), event, static_cast<std::uint32_t>(index),
                                  static_cast<std::uint32_t>(index >> 32)}};
  const philox4x32_key_t key{{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)}};
  const philox4x32_ctr_t out = philox4x32(counter, key);
  return {out.v[0], out.v[1], out.v[2], out.v[3]};
}

std::uint64_t Random::bits64(std::uint64_t index) const {
  const auto w = words(index);
  return static_cast<std::uint64_t>(w[1]) << 32 | w[0];
}

float Random::uniform(std::uint64_t index) const {
  return static_cast<float>(words(index)[0] >> 8) * 0x1p-24f;
}

float Random::normal(std::uint64_t index) const {
  const auto w = words(index);
  const double radius_draw = (static_cast<double>(w[0]) + 1.0) * 0x1p-32;  // (0, 1]: the logarithm exists
  const double angle_draw = static_cast<double>(w[1]) * 0x1p-32;
  return static_cast<float>(std::sqrt(-2.0 * std::log(radius_draw)) *
                            std::cos(2.0 * std::numbers::pi * angle_draw));
}

std::vector<std::uint32_t> random_permutation(std::uint32_t n, const Random& random) {
  std::vector<std::uint32_t> order(n);
  std::iota(order.begin(), order.end(), 0u);
  for (std::uint32_t last = n; last > 1; --last) std::swap(order[last - 1], order[random.below(last, last)]);
  return order;
}

}  // namespace tulle
