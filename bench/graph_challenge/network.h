#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tulle/sparse/topology.h"

namespace tulle::bench {

/// One layer: row = target neuron, column = source neuron.
struct ChallengeLayer {
  Topology topology;
  std::vector<float> values;  // one per connection
};

/// A network of the Sparse DNN Graph Challenge (arXiv 1909.05631): Y <- min(32, max(0, W Y + bias)).
struct ChallengeNetwork {
  std::int32_t neurons = 0;
  float bias = 0.0f;
  std::vector<ChallengeLayer> layers;

  std::int64_t connections() const;
};

/// For each image the neurons that are 1; all others are 0.
using ChallengeImages = std::vector<std::vector<std::int32_t>>;

/// The bias that the challenge prescribes for 1024, 4096, 16384 or 65536 neurons. Throws
/// std::invalid_argument.
float challenge_bias(std::int32_t neurons);

/// RadiX-Net layers (arXiv 1905.00416) as the challenge has them: 32 connections of 1/16 into and out of
/// every neuron, the butterflies of neurons / 16 in turn, widened 16 times; from the second round on rows and
/// columns are permuted, by two permutations for each round, drawn from `seed`. Cost: O(connections).
ChallengeNetwork radix_network(std::int32_t neurons, int layers, std::uint64_t seed);

/// A Matrix Market file of coordinates ("real" or "pattern", "general" or "symmetric") or the challenge's own
/// "row<TAB>column<TAB>value" lines, from 1. Throws tulle::Error (kMissingInput, kBadData).
struct Triples {
  std::vector<std::int32_t> rows, columns;  // from 0
  std::vector<float> values;
};
Triples read_triples(const std::string& path);

/// W as the challenge stores it: row = source, column = target.
ChallengeLayer challenge_layer(std::int32_t neurons, const Triples& triples);

}  // namespace tulle::bench
