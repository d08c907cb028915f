#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "tulle/nn/network.h"

namespace tulle {

/// How much a hidden neuron counts, from the sums of the magnitudes of its inputs' and outputs' weights.
struct StrengthInfo {
  std::string_view name;
  std::string_view help;
  double (*of)(double in, double out);
};
std::span<const StrengthInfo> strengths();

struct ImportanceOptions {
  double percentile = 10.0;                // of the live neurons of each hidden layer that go
  const StrengthInfo* strength = nullptr;  // null: the first, inputs alone, as published
  double min_neurons = 1.0;  // that every hidden layer keeps; below 1: a share of those it had at the start
  bool cascade = true;       // neurons left without inputs or without outputs go too
  /// Mean outputs of every hidden layer's neurons: those that go for their strength leave theirs in the
  /// biases that they reach. Empty: they leave nothing.
  std::span<const std::vector<double>> means{};
};

/// What became of one hidden layer: one whose neurons the next layer alone reads. In an image network those
/// are the hidden channels of each channel mixing.
struct LayerElimination {
  std::size_t layer = 0;  // whose outputs they are
  std::int64_t before = 0, after = 0;
};

/// Removes the weakest neurons of every hidden layer for good: their inputs, outputs, bias and all that
/// belongs to them; layers become smaller. Equal strengths go by number, the lowest first, and
/// floor(percentile / 100 * live) go of each layer at most. With `cascade`, neurons left without inputs or
/// outputs follow, to a fixed point; the constant that a neuron without inputs contributes is added to the
/// biases it reaches, so that outputs do not change by that. With `means` the weakest leave their mean there,
/// exact for those that never change. Inputs and outputs of the network stay.
/// The rule is that of arXiv 2102.01732 made good: there, removed neurons grow again in the same call.
/// Cost: O(connections) a round of the cascade. Throws std::invalid_argument for means of other layers or of
/// an image network.
std::vector<LayerElimination> eliminate_neurons(Network& network, const ImportanceOptions& options);

/// The rule as the code published with arXiv 2102.01732 has it: of every sparse hidden layer, neurons whose
/// strength is at most the percentile (linear interpolation, empty neurons counted) lose all inputs. Layers
/// keep their sizes, and a topology event that follows may let the neurons grow again. Returns how many
/// connections went.
std::int64_t prune_as_published(Network& network, double percentile);

}  // namespace tulle
