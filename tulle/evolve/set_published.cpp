#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tulle/evolve/rule.h"

namespace tulle {
namespace {

// SET as in the code published with arXiv 2102.01732: two thresholds in the sorted values, both compared
// strictly, so that the threshold elements go too and 0 to 3 connections more than zeta * m are replaced.
// With v sorted and [first, end) the places of the smallest magnitude:
//   T_neg = v[floor((1 - zeta) * first)],  T_pos = v[min(m - 1, floor(end + zeta * (m - end)))]
//   keep w iff w > T_pos or w < T_neg
// Deviation: an empty layer stays as it is (the published code fails).
class SetPublished final : public TopologyRule {
 public:
  explicit SetPublished(const RuleOptions& options) : zeta_(options.zeta) {}

  TopologyUpdate evolve(const RuleInput& input) const override {
    std::vector<std::uint8_t> drop(input.weights.size(), 0);
    if (!input.weights.empty()) {
      const auto [low, high] = thresholds(input.weights);
      for (std::size_t k = 0; k < drop.size(); ++k)
        drop[k] = input.weights[k] > high || input.weights[k] < low ? 0 : 1;
    }
    return drop_and_grow_at_random(input, drop);
  }

 private:
  // T_neg and T_pos by selection, O(m), instead of a sort.
  std::pair<float, float> thresholds(std::span<const float> weights) const {
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
    const auto low = static_cast<std::int64_t>(std::floor((1.0 - zeta_) * static_cast<double>(first)));
    const auto high = std::min(m - 1, static_cast<std::int64_t>(std::floor(
                                          static_cast<double>(end) + zeta_ * static_cast<double>(m - end))));
    return {ordered(weights, low), ordered(weights, high)};
  }

  // The value at `place` of the sorted weights; NaN come last, as NumPy sorts them.
  static float ordered(std::span<const float> weights, std::int64_t place) {
    std::vector<float> values(weights.begin(), weights.end());
    const auto less = [](float a, float b) { return a < b || (std::isnan(b) && !std::isnan(a)); };
    std::nth_element(values.begin(), values.begin() + place, values.end(), less);
    return values[static_cast<std::size_t>(place)];
  }

  double zeta_;
};

}  // namespace

std::unique_ptr<TopologyRule> make_set_published(const RuleOptions& options) {
  return std::make_unique<SetPublished>(options);
}

}  // namespace tulle
