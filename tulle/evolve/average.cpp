#include "tulle/evolve/average.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tulle/base/check.h"
#include "tulle/base/name_table.h"
#include "tulle/evolve/drop.h"
#include "tulle/sparse/topology_update.h"

namespace tulle {

std::vector<float> average(std::span<const std::vector<float>> replicas) {
  require(!replicas.empty(), "average: at least one replica is needed");
  std::vector<float> mean(replicas.front().size());
  for (std::size_t i = 0; i < mean.size(); ++i) {
    double sum = 0.0;  // exact for as many equal floats as there may be replicas
    for (const std::vector<float>& replica : replicas) sum += replica[i];
    mean[i] = static_cast<float>(sum / static_cast<double>(replicas.size()));
  }
  return mean;
}

LayerWeights average(std::span<const LayerWeights> replicas) {
  require(!replicas.empty(), "average: at least one replica is needed");
  const Topology& first = replicas.front().topology;
  std::vector<std::uint64_t> keys;
  for (const LayerWeights& replica : replicas) {
    require(replica.topology.rows() == first.rows() && replica.topology.cols() == first.cols() &&
                std::ssize(replica.values) == replica.topology.nnz(),
            "average: layers must be of one shape, with one value per connection");
    const std::vector<std::uint64_t> more = replica.topology.keys();
    std::vector<std::uint64_t> both;
    both.reserve(keys.size() + more.size());
    std::ranges::set_union(keys, more, std::back_inserter(both));
    keys = std::move(both);
  }
  std::vector<double> sums(keys.size(), 0.0);
  for (const LayerWeights& replica : replicas) {
    std::size_t place = 0, k = 0;
    for (const std::uint64_t key : replica.topology.keys()) {
      while (keys[place] != key) ++place;
      sums[place] += replica.values[k++];
    }
  }
  LayerWeights mean{Topology::from_keys(first.rows(), first.cols(), keys), std::vector<float>(keys.size())};
  std::ranges::transform(sums, mean.values.begin(), [&](double sum) {
    return static_cast<float>(sum / static_cast<double>(replicas.size()));
  });
  return mean;
}

LayerWeights resparsified(const LayerWeights& weights, std::int64_t connections, bool published) {
  const std::int64_t count = weights.topology.nnz(), going = count - connections;
  require(going >= 0, "resparsified: fewer connections than wanted");
  std::vector<std::uint8_t> drop(static_cast<std::size_t>(count), 0);
  if (published) {
    drop = marks_of(find_name(drop_rules(), "evolve.drop", "set-published"),
                    {.topology = weights.topology,
                     .weights = weights.values,
                     .gradients = {},
                     .pending = {},
                     .zeta = count > 0 ? static_cast<double>(going) / static_cast<double>(count) : 0.0});
  } else if (going > 0) {
    std::vector<std::int64_t> order(static_cast<std::size_t>(count));
    std::iota(order.begin(), order.end(), 0);
    const auto weaker = [&](std::int64_t a, std::int64_t b) {
      const float x = std::abs(weights.values[static_cast<std::size_t>(a)]),
                  y = std::abs(weights.values[static_cast<std::size_t>(b)]);
      return x < y || (x == y && a < b);
    };
    std::nth_element(order.begin(), order.begin() + (going - 1), order.end(), weaker);
    for (std::int64_t i = 0; i < going; ++i)
      drop[static_cast<std::size_t>(order[static_cast<std::size_t>(i)])] = 1;
  }
  TopologyUpdate kept = without(weights.topology, drop);
  LayerWeights result{std::move(kept.topology), {}};
  for (const std::int64_t source : kept.source)
    result.values.push_back(weights.values[static_cast<std::size_t>(source)]);
  return result;
}

}  // namespace tulle
