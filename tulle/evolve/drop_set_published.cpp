#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "tulle/evolve/drop.h"

namespace tulle {
namespace {

// The value at `place` of the sorted weights; NaN come last, as NumPy sorts them.
float ordered(std::span<const float> weights, std::int64_t place) {
  std::vector<float> values(weights.begin(), weights.end());
  const auto less = [](float a, float b) { return a < b || (std::isnan(b) && !std::isnan(a)); };
  std::nth_element(values.begin(), values.begin() + place, values.end(), less);
  return values[static_cast<std::size_t>(place)];
}

// T_neg and T_pos by selection, O(m), instead of a sort.
std::pair<float, float> thresholds(std::span<const float> weights, double zeta) {
  float smallest = std::numeric_limits<float>::infinity();
  for (const float w : weights) smallest = std::min(smallest, std::abs(w));
  const auto m = static_cast<std::int64_t>(weights.size());
  const auto below = std::count_if(weights.begin(), weights.end(), [&](float w) { return w < -smallest; });
  const auto at_negative = std::count(weights.begin(), weights.end(), -smallest);
  const auto at_positive = smallest == 0.0f ? 0 : std::count(weights.begin(), weights.end(), smallest);
  // The published code takes the first place of the smallest magnitude and one past the last; where -s and
  // +s both occur, nothing lies between them.
  const std::int64_t first = below;
  const std::int64_t end = below + at_negative + at_positive;
  const auto low = static_cast<std::int64_t>(std::floor((1.0 - zeta) * static_cast<double>(first)));
  const auto high = std::min(
      m - 1,
      static_cast<std::int64_t>(std::floor(static_cast<double>(end) + zeta * static_cast<double>(m - end))));
  return {ordered(weights, low), ordered(weights, high)};
}

}  // namespace

// SET as in the code published with arXiv 2102.01732: two thresholds in the sorted values, both compared
// strictly, so that the threshold elements go too and 0 to 3 connections more than zeta * m are replaced.
// With v sorted and [first, end) the places of the smallest magnitude:
//   T_neg = v[floor((1 - zeta) * first)],  T_pos = v[min(m - 1, floor(end + zeta * (m - end)))]
//   keep w iff w > T_pos or w < T_neg
// Deviation: an empty layer stays as it is (the published code fails).
void drop_set_published(const DropInput& input, std::span<std::uint8_t> marks) {
  if (input.weights.empty()) return;
  const auto [low, high] = thresholds(input.weights, input.zeta);
  for (std::size_t k = 0; k < marks.size(); ++k)
    marks[k] = input.weights[k] > high || input.weights[k] < low ? 0 : 1;
}

}  // namespace tulle
