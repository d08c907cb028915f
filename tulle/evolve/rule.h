#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "tulle/base/random.h"
#include "tulle/sparse/topology_update.h"

namespace tulle {

struct RuleOptions {
  double zeta = 0.3;  // share of the connections replaced at an event
};

/// What a rule sees of one layer at an event.
struct RuleInput {
  const Topology& topology;
  std::span<const float> weights;  // one per connection
  Random grow;                     // places for random growth; keyed by seed, layer and event
};

/// Decides which connections go and which come. It knows no optimizer: values and states are carried over by
/// the TopologyUpdate it returns. The number of connections stays the same.
class TopologyRule {
 public:
  virtual ~TopologyRule() = default;
  virtual TopologyUpdate evolve(const RuleInput& input) const = 0;
};

using MakeRule = std::unique_ptr<TopologyRule>(const RuleOptions&);

struct RuleInfo {
  std::string_view name;
  std::string_view help;
  std::string_view source;
  MakeRule* make;  // null: the topology stays as it is
};

std::span<const RuleInfo> rules();

/// Drops the marked connections and grows as many at random among the cells then free; what was just dropped
/// may come back. Cost: O(nnz).
TopologyUpdate drop_and_grow_at_random(const RuleInput& input, std::span<const std::uint8_t> drop);

}  // namespace tulle
