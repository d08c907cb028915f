#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "tulle/evolve/rule.h"

namespace tulle {
namespace {

// Sparse evolutionary training, Mocanu et al. 2018 (doi:10.1038/s41467-018-04316-3), with exact counts: the
// floor(zeta * m) weakest of the negative and of the non-negative weights go, ties by position, and as many
// come back at random.
class Set final : public TopologyRule {
 public:
  explicit Set(const RuleOptions& options) : zeta_(options.zeta) {}

  TopologyUpdate evolve(const RuleInput& input) const override {
    // Strength above, position below. Bits of numbers without sign are ordered like the numbers, with NaN
    // above infinity: after a divergence NaN stays where the loss shows it.
    std::vector<std::uint64_t> negative, positive;
    for (std::size_t k = 0; k < input.weights.size(); ++k) {
      const float weight = input.weights[k];
      const std::uint64_t strength = std::bit_cast<std::uint32_t>(std::abs(weight));
      (weight < 0.0f ? negative : positive).push_back(strength << 32 | k);
    }
    std::vector<std::uint8_t> drop(input.weights.size(), 0);
    mark_weakest(negative, drop);
    mark_weakest(positive, drop);
    return drop_and_grow_at_random(input, drop);
  }

 private:
  void mark_weakest(std::vector<std::uint64_t>& keys, std::vector<std::uint8_t>& drop) const {
    const auto count = static_cast<std::ptrdiff_t>(std::floor(zeta_ * static_cast<double>(keys.size())));
    if (count == 0) return;
    std::nth_element(keys.begin(), keys.begin() + count - 1, keys.end());
    for (std::ptrdiff_t i = 0; i < count; ++i)
      drop[static_cast<std::uint32_t>(keys[static_cast<std::size_t>(i)])] = 1;
  }

  double zeta_;
};

}  // namespace

std::unique_ptr<TopologyRule> make_set(const RuleOptions& options) { return std::make_unique<Set>(options); }

}  // namespace tulle
