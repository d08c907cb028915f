#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "tulle/evolve/rule.h"
#include "tulle/sparse/selection.h"

namespace tulle {
namespace {

// Sparse evolutionary training, Mocanu et al. 2018 (doi:10.1038/s41467-018-04316-3), with exact counts: the
// floor(zeta * m) weakest of the negative and of the non-negative weights go, ties by position, and as many
// come back at random.
class Set final : public TopologyRule {
 public:
  explicit Set(const RuleOptions& options) : zeta_(options.zeta) {}

  TopologyUpdate evolve(const RuleInput& input) const override {
    std::vector<std::uint8_t> drop(input.weights.size(), 0);
    // After a divergence NaN, counted as the strongest, stays where the loss shows it.
    const auto negative =
        std::count_if(input.weights.begin(), input.weights.end(), [](float w) { return w < 0.0f; });
    const auto others = static_cast<std::int64_t>(drop.size()) - negative;
    mark_weakest_of_each_sign(input.weights, share_of(negative), share_of(others), drop);
    return drop_and_grow_at_random(input, drop);
  }

 private:
  std::int64_t share_of(std::int64_t count) const {
    return static_cast<std::int64_t>(std::floor(zeta_ * static_cast<double>(count)));
  }

  double zeta_;
};

}  // namespace

std::unique_ptr<TopologyRule> make_set(const RuleOptions& options) { return std::make_unique<Set>(options); }

}  // namespace tulle
