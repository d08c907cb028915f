#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <utility>

#include "tulle/evolve/drop.h"
#include "tulle/sparse/selection.h"

namespace tulle {

using Score = void(const DropInput&, std::span<float>);
using Mark = void(const DropInput&, std::span<std::uint8_t>);
Mark drop_set, drop_set_published, drop_momentum, drop_threshold;
Score score_magnitude, score_magnitude_soft, score_mest, score_relative;

namespace {

// To add a drop rule: its file, its name above, one line here.
constexpr DropInfo kDropRules[] = {
    {.name = "set",
     .help = "the share zeta of the weakest positive and of the weakest negative weights",
     .source = "Mocanu et al. 2018",
     .mark = drop_set,
     .by_rows = true},
    {.name = "set-published",
     .help = "the same with the thresholds of the published code (0 to 3 connections more go)",
     .source = "Curci et al. 2021",
     .mark = drop_set_published},
    {.name = "magnitude",
     .help = "the weakest weights",
     .source = "Evci et al. 2020",
     .score = score_magnitude,
     .by_rows = true},
    {.name = "magnitude-soft",
     .help = "a random sample, weak weights more likely: probability ~ 1 / |w|^soft_beta",
     .source = "",
     .score = score_magnitude_soft},
    {.name = "mest",
     .help = "the lowest |w| + mest_gamma |gradient|",
     .source = "Yuan et al. 2021",
     .score = score_mest,
     .needs_gradients = true},
    {.name = "momentum",
     .help = "first weights whose momentum is about to change their sign, then the weakest",
     .source = "",
     .mark = drop_momentum,
     .needs_pending = true},
    {.name = "relative",
     .help = "the lowest share of the weights into the same target and out of the same source",
     .source = "Zhang et al. 2024",
     .score = score_relative},
    {.name = "threshold",
     .help = "weights below evolve.drop_below, the weakest first and at most the share zeta",
     .source = "",
     .mark = drop_threshold,
     .by_rows = true},
};

}  // namespace

std::span<const DropInfo> drop_rules() { return kDropRules; }

std::int64_t share_of(double zeta, std::int64_t count) {
  return static_cast<std::int64_t>(std::floor(zeta * static_cast<double>(count)));
}

std::vector<std::uint8_t> marks_of(const DropInfo& rule, const DropInput& input, std::int64_t min_fan_in) {
  std::vector<std::uint8_t> marks(input.weights.size(), 0);
  if (rule.mark != nullptr) {
    rule.mark(input, marks);
  } else {
    std::vector<float> scores(input.weights.size());
    rule.score(input, scores);
    const std::int64_t all = input.share.sum(input.topology.nnz());
    mark_weakest_of_each_sign(scores, 0, share_of(input.zeta, all), marks, input.share);
  }
  if (min_fan_in > 0) spare_strongest(input.topology, input.weights, min_fan_in, marks);
  return marks;
}

void spare_strongest(const Topology& topology, std::span<const float> weights, std::int64_t min_fan_in,
                     std::span<std::uint8_t> marks) {
  const auto keep = static_cast<std::size_t>(min_fan_in);
  // As bits, magnitudes have a total order, NaN above infinity.
  const auto magnitude = [&](std::size_t k) {
    return std::bit_cast<std::uint32_t>(weights[k]) & 0x7fffffffu;
  };
  std::vector<std::size_t> order;
  std::size_t first = 0;
  for (std::int32_t target = 0; target < topology.rows(); ++target) {
    order.resize(topology.row(target).size());
    std::iota(order.begin(), order.end(), first);
    const std::size_t spared = std::min(keep, order.size());
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(spared), order.end(),
                      [&](std::size_t a, std::size_t b) {
                        return std::pair(magnitude(b), a) < std::pair(magnitude(a), b);
                      });
    for (std::size_t i = 0; i < spared; ++i) marks[order[i]] = 0;
    first += order.size();
  }
}

}  // namespace tulle
