#include <algorithm>

#include "tulle/evolve/rule.h"
#include "tulle/sparse/sampling.h"

namespace tulle {

MakeRule make_set, make_set_published;

namespace {

// To add a rule: its file, its name above, one line here.
constexpr RuleInfo kRules[] = {
    {"none", "the topology never changes", "", nullptr},
    {"set", "replace the share zeta of the weakest positive and of the weakest negative weights at random",
     "Mocanu et al. 2018", make_set},
    {"set-published",
     "the same with the thresholds of the published code (0 to 3 connections more are replaced)",
     "Curci et al. 2021", make_set_published},
};

}  // namespace

std::span<const RuleInfo> rules() { return kRules; }

TopologyUpdate drop_and_grow_at_random(const RuleInput& input, std::span<const std::uint8_t> drop) {
  const auto dropped = std::count(drop.begin(), drop.end(), std::uint8_t{1});
  const TopologyUpdate kept = without(input.topology, drop);
  return with_grown(kept, random_absent_cells(kept.topology, dropped, input.grow));
}

}  // namespace tulle
