#include <cmath>

#include "tulle/base/parallel.h"
#include "tulle/evolve/drop.h"

namespace tulle {

// MEST (arXiv 2110.14032): a weak weight that is about to move is worth keeping.
void score_mest(const DropInput& input, std::span<float> scores) {
  const auto gamma = static_cast<float>(input.mest_gamma > 0.0 ? input.mest_gamma : input.learning_rate);
  parallel_ranges(std::ssize(scores), 1 << 14, [&](Range range) {
    for (auto k = static_cast<std::size_t>(range.begin); k < static_cast<std::size_t>(range.end); ++k)
      scores[k] = std::abs(input.weights[k]) + gamma * std::abs(input.gradients[k]);
  });
}

}  // namespace tulle
