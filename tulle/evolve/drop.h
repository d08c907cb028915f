#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "tulle/base/random.h"
#include "tulle/sparse/row_share.h"
#include "tulle/sparse/topology.h"

namespace tulle {

/// What a drop rule sees of one layer. Arrays have one entry per connection, in topology order.
struct DropInput {
  const Topology& topology;
  std::span<const float> weights;
  std::span<const float> gradients;  // mean gradient of the last step
  std::span<const float> pending;    // what momentum alone adds at the next step; empty unless asked for
  double zeta = 0.3;                 // share that goes
  double learning_rate = 0.01;       // of the last step
  double soft_beta = 1.0;            // magnitude-soft: how strongly large weights are spared
  double mest_gamma = 0.0;           // mest: weight of the gradient; 0: the learning rate
  double threshold = 0.001;          // threshold: what is weaker goes
  Random random{};                   // places for random choices, one per connection
  RowShare share{};                  // which rows of the layer this is
};

/// Decides which connections of a layer go. A rule that ranks connections by one score has `score`; the
/// floor(zeta * nnz) of lowest score go, ties by position. Any other marks what goes itself.
struct DropInfo {
  std::string_view name;
  std::string_view help;
  std::string_view source;
  void (*score)(const DropInput&, std::span<float> scores) = nullptr;  // 0 or more
  void (*mark)(const DropInput&, std::span<std::uint8_t> marks) = nullptr;
  bool needs_pending = false;
  bool needs_gradients = false;
  bool by_rows = false;  // decides over a layer whose rows are spread over ranks
};

std::span<const DropInfo> drop_rules();

/// floor(zeta * count).
std::int64_t share_of(double zeta, std::int64_t count);

/// One flag per connection, 1: it goes. The `min_fan_in` largest weights of every target stay, even if fewer
/// connections go then. Cost: O(nnz) and that of the rule.
std::vector<std::uint8_t> marks_of(const DropInfo& rule, const DropInput& input, std::int64_t min_fan_in = 0);

/// Takes back the marks of the `min_fan_in` largest weights of every target.
void spare_strongest(const Topology& topology, std::span<const float> weights, std::int64_t min_fan_in,
                     std::span<std::uint8_t> marks);

}  // namespace tulle
