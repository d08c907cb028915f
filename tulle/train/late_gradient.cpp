#include "tulle/train/late_gradient.h"

#include <algorithm>
#include <utility>

#include "tulle/sparse/pattern_change.h"

namespace tulle {
namespace {

using Flags = std::vector<std::uint8_t>;

std::vector<std::uint32_t> neurons_of(const Layer& layer) {
  std::vector<std::uint32_t> neurons;
  for (std::int32_t output = 0; output < layer.outputs(); ++output)
    neurons.push_back(layer.original_neuron(output));
  return neurons;
}

std::vector<float> picked(std::span<const float> values, std::span<const std::size_t> places) {
  std::vector<float> some;
  for (const std::size_t place : places) some.push_back(values[place]);
  return some;
}

std::vector<float> of_alive(std::span<const float> values, const Flags& alive) {
  std::vector<float> some;
  for (std::size_t i = 0; i < values.size(); ++i)
    if (alive[i] != 0) some.push_back(values[i]);
  return some;
}

std::vector<float> late_weights(const KnownLayer& known, const std::vector<float>& gradient,
                                const Flags& targets, const Flags& sources, const Layer& layer) {
  const bool dense = layer.topology() == nullptr;
  KeptConnections kept = kept_connections(dense ? nullptr : &known.pattern, targets, sources);
  std::vector<float> valid = picked(gradient, kept.places);
  if (dense) return valid;
  const Topology pattern(layer.outputs(), layer.inputs(), std::move(kept.row_ptr), std::move(kept.columns));
  return retain_valid(pattern, valid, *layer.topology());
}

}  // namespace

std::vector<KnownLayer> known_layers(const Network& network) {
  std::vector<KnownLayer> known;
  for (std::size_t l = 0; l < network.size(); ++l) {
    const Layer& layer = network.layer(l);
    known.push_back({layer.topology() != nullptr ? *layer.topology() : Topology(), neurons_of(layer)});
  }
  return known;
}

Alive still_alive(std::span<const KnownLayer> known, const Network& network) {
  Alive alive;
  for (std::size_t l = 0; l < known.size(); ++l) {
    const std::vector<std::uint32_t> neurons = neurons_of(network.layer(l));  // ascending
    Flags& flags = alive.emplace_back();
    for (const std::uint32_t neuron : known[l].neurons)
      flags.push_back(std::ranges::binary_search(neurons, neuron) ? 1 : 0);
  }
  return alive;
}

void put_late(std::span<const KnownLayer> known, std::span<const std::vector<float>> gradients,
              Network& network) {
  const Alive alive = still_alive(known, network);
  Flags sources(static_cast<std::size_t>(network.inputs()), std::uint8_t{1});
  auto gradient = gradients.begin();
  for (std::size_t l = 0; l < network.size(); ++l) {
    Layer& layer = network.layer(l);
    for (Parameter* parameter : layer.parameters()) {
      const std::vector<float> valid = parameter->kind == Parameter::Kind::kWeight
                                           ? late_weights(known[l], *gradient, alive[l], sources, layer)
                                           : of_alive(*gradient, alive[l]);
      std::ranges::copy(valid, parameter->gradient.begin());
      ++gradient;
    }
    sources = alive[l];
  }
}

}  // namespace tulle
