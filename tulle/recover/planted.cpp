#include "tulle/recover/planted.h"

#include <algorithm>

#include "tulle/base/parallel.h"
#include "tulle/base/random.h"
#include "tulle/sparse/sampling.h"

namespace tulle {

SparseWeights planted_weights(std::int64_t neurons, std::int32_t features, std::int64_t nnz, bool mixed,
                              std::uint64_t seed, std::uint32_t layer) {
  const Topology topology =
      random_topology(static_cast<std::int32_t>(neurons), features, std::min(nnz, neurons * features),
                      {.seed = seed, .stream = Stream::kPlanted, .layer = 3 * layer});
  const std::vector<std::uint64_t> keys = topology.keys();
  const Random values{.seed = seed, .stream = Stream::kPlanted, .layer = 3 * layer + 1},
      signs{.seed = seed, .stream = Stream::kPlanted, .layer = 3 * layer + 2};
  std::vector<double> drawn(keys.size());
  for (std::size_t k = 0; k < keys.size(); ++k) drawn[k] = static_cast<double>(values.normal(keys[k]));
  SparseWeights weights(neurons, features, std::vector<std::int64_t>(keys.begin(), keys.end()),
                        std::move(drawn));
  for (SparseWeights::Block& block : weights.blocks())
    if (mixed && signs.bits64(static_cast<std::uint64_t>(block.neuron)) % 2 == 1) block.sign = -1;
  return weights;
}

Samples planted_samples(std::int64_t count, std::int32_t features, std::uint64_t seed, std::uint32_t part) {
  Samples x(count, features);
  const Random random{.seed = seed, .stream = Stream::kData, .event = part};
  parallel_ranges(features, 1, [&](Range range) {
    for (std::int64_t c = range.begin; c < range.end; ++c)
      for (std::int64_t i = 0; i < count; ++i)
        x.column(c)[i] = random.normal(static_cast<std::uint64_t>(i * features + c));
  });
  return x;
}

}  // namespace tulle
