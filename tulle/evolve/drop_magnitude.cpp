#include <cmath>

#include "tulle/base/parallel.h"
#include "tulle/evolve/drop.h"

namespace tulle {

void score_magnitude(const DropInput& input, std::span<float> scores) {
  parallel_ranges(std::ssize(scores), 1 << 14, [&](Range range) {
    for (auto k = static_cast<std::size_t>(range.begin); k < static_cast<std::size_t>(range.end); ++k)
      scores[k] = std::abs(input.weights[k]);
  });
}

}  // namespace tulle
