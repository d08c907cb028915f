#include "bench/graph_challenge/network.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <numeric>
#include <utility>

#include "tulle/base/check.h"
#include "tulle/base/error.h"
#include "tulle/base/random.h"

namespace tulle::bench {

std::int64_t ChallengeNetwork::connections() const {
  std::int64_t sum = 0;
  for (const ChallengeLayer& layer : layers) sum += layer.topology.nnz();
  return sum;
}

float challenge_bias(std::int32_t neurons) {
  for (int i = 0; i < 4; ++i)
    if (neurons == 1024 << 2 * i) return -0.3f - 0.05f * static_cast<float>(i);
  throw std::invalid_argument("neurons, expected 1024, 4096, 16384 or 65536");
}

ChallengeNetwork radix_network(std::int32_t neurons, int layers, std::uint64_t seed) {
  constexpr std::int32_t kCopies = 16;
  ChallengeNetwork network{.neurons = neurons, .bias = challenge_bias(neurons), .layers = {}};
  const std::int32_t cycle = neurons / kCopies;
  const int rounds_of = static_cast<int>(std::lround(std::log2(cycle)));
  std::vector<std::uint32_t> source_of(static_cast<std::size_t>(neurons)), target_of;
  std::iota(source_of.begin(), source_of.end(), 0u);
  target_of = source_of;
  for (int l = 0; l < layers; ++l) {
    if (l > 0 && l % rounds_of == 0) {
      const auto round = static_cast<std::uint32_t>(l / rounds_of);
      const auto count = static_cast<std::uint32_t>(neurons);
      source_of =
          random_permutation(count, {.seed = seed, .stream = Stream::kData, .layer = 0, .event = round});
      target_of =
          random_permutation(count, {.seed = seed, .stream = Stream::kData, .layer = 1, .event = round});
    }
    const std::int32_t stride = 1 << l % rounds_of;
    std::vector<std::uint64_t> keys;
    keys.reserve(static_cast<std::size_t>(neurons) * 2 * kCopies);
    for (std::int32_t target = 0; target < neurons; ++target)
      for (const std::int32_t offset : {0, stride})
        for (std::int32_t copy = 0; copy < kCopies; ++copy) {
          const std::int32_t source = (target + offset) % cycle + copy * cycle;
          keys.push_back(std::uint64_t{target_of[static_cast<std::size_t>(target)]} *
                             static_cast<std::uint64_t>(neurons) +
                         source_of[static_cast<std::size_t>(source)]);
        }
    std::sort(keys.begin(), keys.end());
    network.layers.push_back(
        {Topology::from_keys(neurons, neurons, keys), std::vector<float>(keys.size(), 1.0f / kCopies)});
  }
  return network;
}

Triples read_triples(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw Error(ErrorKind::kMissingInput, {.file = path}, "cannot be opened");
  Triples triples;
  bool pattern = false, symmetric = false, sizes_follow = false;
  std::int64_t number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    if (line.starts_with("%%MatrixMarket")) {
      pattern = line.find(" pattern ") != std::string::npos;
      symmetric = line.find(" symmetric") != std::string::npos;
      sizes_follow = true;
    }
    if (line.empty() || line[0] == '%') continue;
    if (std::exchange(sizes_follow, false)) continue;
    int row = 0, column = 0;
    float value = 1.0f;
    const int found = std::sscanf(line.c_str(), "%d %d %f", &row, &column, &value);
    if (found < (pattern ? 2 : 3) || row < 1 || column < 1)
      throw Error(ErrorKind::kBadData, {.file = path, .line = number},
                  "line, found no row, column and value, expected them from 1 on");
    const auto add = [&](int r, int c) {
      triples.rows.push_back(r - 1);
      triples.columns.push_back(c - 1);
      triples.values.push_back(value);
    };
    add(row, column);
    if (symmetric && row != column) add(column, row);
  }
  return triples;
}

ChallengeLayer challenge_layer(std::int32_t neurons, const Triples& triples) {
  std::vector<std::pair<std::uint64_t, float>> cells;
  for (std::size_t k = 0; k < triples.rows.size(); ++k) {
    require(triples.rows[k] < neurons && triples.columns[k] < neurons, "a connection is outside the layer");
    cells.emplace_back(static_cast<std::uint64_t>(triples.columns[k]) * static_cast<std::uint64_t>(neurons) +
                           static_cast<std::uint64_t>(triples.rows[k]),
                       triples.values[k]);
  }
  std::sort(cells.begin(), cells.end());
  std::vector<std::uint64_t> keys;
  ChallengeLayer layer;
  for (const auto& [key, value] : cells) {
    keys.push_back(key);
    layer.values.push_back(value);
  }
  layer.topology = Topology::from_keys(neurons, neurons, keys);
  return layer;
}

}  // namespace tulle::bench
