#include <cmath>

#include "tulle/evolve/drop.h"

namespace tulle {

void score_magnitude(const DropInput& input, std::span<float> scores) {
  for (std::size_t k = 0; k < scores.size(); ++k) scores[k] = std::abs(input.weights[k]);
}

}  // namespace tulle
