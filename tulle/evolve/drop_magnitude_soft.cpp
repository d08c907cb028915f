#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "tulle/base/parallel.h"
#include "tulle/evolve/drop.h"
#include "tulle/kernels/draws.h"

namespace tulle {

// A sample without replacement, each connection with probability ~ 1 / (|w|^beta + tiny), by exponential
// races: of E / rate with E ~ Exp(1), the smallest are such a sample (Efraimidis and Spirakis 2006).
void score_magnitude_soft(const DropInput& input, std::span<float> scores) {
  constexpr double kTiny = 1e-12;
  constexpr std::size_t kTogether = 256;  // numbers are drawn in vectors
  parallel_ranges(std::ssize(scores), 1 << 10, [&](Range range) {
    std::array<std::uint64_t, kTogether> places;
    std::array<float, kTogether> uniform;
    const auto end = static_cast<std::size_t>(range.end);
    for (auto first = static_cast<std::size_t>(range.begin); first < end; first += kTogether) {
      const std::size_t count = std::min(kTogether, end - first);
      std::iota(places.begin(), places.end(), first);
      kernels::draw_uniform(input.random, places.data(), static_cast<std::int64_t>(count), uniform.data());
      for (std::size_t i = 0; i < count; ++i) {
        const double exponential = -std::log1p(-static_cast<double>(uniform[i]));
        const double size = std::abs(static_cast<double>(input.weights[first + i]));
        // pow(x, 1) is x.
        const double spared = (input.soft_beta == 1.0 ? size : std::pow(size, input.soft_beta)) + kTiny;
        scores[first + i] = static_cast<float>(exponential * spared);
      }
    }
  });
}

}  // namespace tulle
