#include <cmath>

#include "tulle/evolve/drop.h"

namespace tulle {

// A sample without replacement, each connection with probability ~ 1 / (|w|^beta + tiny), by exponential
// races: of E / rate with E ~ Exp(1), the smallest are such a sample (Efraimidis and Spirakis 2006).
void score_magnitude_soft(const DropInput& input, std::span<float> scores) {
  constexpr double kTiny = 1e-12;
  for (std::size_t k = 0; k < scores.size(); ++k) {
    const double exponential = -std::log1p(-static_cast<double>(input.random.uniform(k)));
    const double spared = std::pow(std::abs(static_cast<double>(input.weights[k])), input.soft_beta) + kTiny;
    scores[k] = static_cast<float>(exponential * spared);
  }
}

}  // namespace tulle
