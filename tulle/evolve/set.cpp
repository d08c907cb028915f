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
    std::vector<std::int64_t> negative, positive;
    for (std::size_t k = 0; k < input.weights.size(); ++k)
      (input.weights[k] < 0.0f ? negative : positive).push_back(static_cast<std::int64_t>(k));
    std::vector<std::uint8_t> drop(input.weights.size(), 0);
    mark_weakest(input.weights, negative, drop);
    mark_weakest(input.weights, positive, drop);
    return drop_and_grow_at_random(input, drop);
  }

 private:
  void mark_weakest(std::span<const float> weights, std::vector<std::int64_t>& positions,
                    std::vector<std::uint8_t>& drop) const {
    const auto count = static_cast<std::ptrdiff_t>(std::floor(zeta_ * static_cast<double>(positions.size())));
    if (count == 0) return;
    // Bits of numbers without sign are ordered like the numbers, with NaN above infinity: after a divergence
    // NaN stays where the loss shows it.
    const auto strength = [&](std::int64_t k) {
      return std::bit_cast<std::uint32_t>(std::abs(weights[static_cast<std::size_t>(k)]));
    };
    const auto weaker = [&](std::int64_t a, std::int64_t b) {
      const std::uint32_t sa = strength(a), sb = strength(b);
      return sa != sb ? sa < sb : a < b;
    };
    std::nth_element(positions.begin(), positions.begin() + count - 1, positions.end(), weaker);
    for (std::ptrdiff_t i = 0; i < count; ++i)
      drop[static_cast<std::size_t>(positions[static_cast<std::size_t>(i)])] = 1;
  }

  double zeta_;
};

}  // namespace

std::unique_ptr<TopologyRule> make_set(const RuleOptions& options) { return std::make_unique<Set>(options); }

}  // namespace tulle
