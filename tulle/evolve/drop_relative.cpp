#include <cmath>
#include <vector>

#include "tulle/base/parallel.h"
#include "tulle/evolve/drop.h"

namespace tulle {

// Relative importance ("RIA", Zhang et al. 2024): |w| as a share of all weights into its target, plus as a
// share of all weights out of its source, so that no neuron is cut off for being quiet.
void score_relative(const DropInput& input, std::span<float> scores) {
  const Topology& topology = input.topology;
  std::vector<double> out(static_cast<std::size_t>(topology.cols()), 0.0);
  std::size_t next = 0;
  for (std::int32_t target = 0; target < topology.rows(); ++target)
    for (const std::int32_t source : topology.row(target))
      out[static_cast<std::size_t>(source)] += std::abs(input.weights[next++]);
  parallel_ranges(topology.rows(), 64, [&](Range targets) {
    for (auto target = static_cast<std::int32_t>(targets.begin); target < targets.end; ++target) {
      const auto row = topology.row(target);
      auto k = static_cast<std::size_t>(topology.row_ptr()[static_cast<std::size_t>(target)]);
      double in = 0.0;
      for (std::size_t i = 0; i < row.size(); ++i) in += std::abs(input.weights[k + i]);
      for (const std::int32_t source : row) {
        const double w = std::abs(input.weights[k]);
        // Sums of 0 have nothing but zeros to share.
        scores[k++] = static_cast<float>(w == 0.0 ? 0.0 : w / in + w / out[static_cast<std::size_t>(source)]);
      }
    }
  });
}

}  // namespace tulle
