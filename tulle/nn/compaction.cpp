#include "tulle/nn/compaction.h"

#include <algorithm>
#include <memory>
#include <span>
#include <utility>

#include "tulle/base/check.h"
#include "tulle/nn/dense_linear.h"
#include "tulle/nn/sparse_layer.h"
#include "tulle/sparse/sampling.h"

namespace tulle {
namespace {

using Flags = std::vector<std::uint8_t>;

template <class T>
void pick(const AlignedVector<T>& from, std::span<const std::size_t> places, AlignedVector<T>& to) {
  if (from.empty()) return;
  to.resize(places.size());
  for (std::size_t i = 0; i < places.size(); ++i) to[i] = from[places[i]];
}

// Entry i of `to` becomes entry places[i] of `from`, with all that an optimizer keeps of it.
void pick(const Parameter& from, std::span<const std::size_t> places, Parameter& to) {
  pick(from.value, places, to.value);
  pick(from.gradient, places, to.gradient);
  pick(from.m1, places, to.m1);
  pick(from.m2, places, to.m2);
  pick(from.outer, places, to.outer);
  pick(from.average, places, to.average);
  pick(from.age, places, to.age);
  pick(from.bf16_value, places, to.bf16_value);
  pick(from.bf16_m1, places, to.bf16_m1);
}

std::vector<std::size_t> places_of(const Flags& flags) {
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < flags.size(); ++i)
    if (flags[i] != 0) places.push_back(i);
  return places;
}

LayerOptions options_of(const Layer& layer, std::int32_t inputs, const Flags& targets) {
  LayerOptions options = layer.options();
  options.inputs = inputs;
  const std::vector<std::size_t> alive = places_of(targets);
  if (alive.size() == targets.size()) return options;
  options.original_outputs = layer.original_outputs();
  options.outputs = static_cast<std::int32_t>(alive.size());
  options.neurons.clear();
  for (const std::size_t place : alive)
    options.neurons.push_back(layer.original_neuron(static_cast<std::int32_t>(place)));
  return options;
}

std::unique_ptr<Layer> reduced(Layer& layer, const Flags& targets, const Flags& sources, const Flags& drop) {
  const auto inputs = static_cast<std::int32_t>(places_of(sources).size());
  const LayerOptions options = options_of(layer, inputs, targets);
  KeptConnections kept = kept_connections(layer.topology(), targets, sources, drop);
  std::unique_ptr<Layer> small;
  if (layer.topology() == nullptr && std::ranges::none_of(drop, [](std::uint8_t d) { return d != 0; }))
    small = std::make_unique<DenseLinear>(options);
  else
    small = make_sparse_layer(
        options, Topology(options.outputs, inputs, std::move(kept.row_ptr), std::move(kept.columns)));
  pick(layer.weight(), kept.places, small->weight());
  const std::vector<std::size_t> neurons = places_of(targets);
  const std::vector<Parameter*> from = layer.parameters();
  const std::vector<Parameter*> to = small->parameters();
  for (std::size_t p = 1; p < from.size(); ++p) pick(*from[p], neurons, *to[p]);  // 0: the weights
  return small;
}

}  // namespace

KeptConnections kept_connections(const Topology* topology, std::span<const std::uint8_t> targets,
                                 std::span<const std::uint8_t> sources, std::span<const std::uint8_t> drop) {
  std::vector<std::int32_t> numbers(sources.size(), -1);  // of the sources that stay
  std::int32_t inputs = 0;
  for (std::size_t s = 0; s < sources.size(); ++s)
    if (sources[s] != 0) numbers[s] = inputs++;
  KeptConnections kept;
  std::size_t place = 0;
  for (std::size_t target = 0; target < targets.size(); ++target) {
    const auto offer = [&](std::size_t source) {
      const std::size_t here = place++;
      if (targets[target] == 0 || numbers[source] < 0 || (!drop.empty() && drop[here] != 0)) return;
      kept.columns.push_back(numbers[source]);
      kept.places.push_back(here);
    };
    if (topology != nullptr)
      for (const std::int32_t source : topology->row(static_cast<std::int32_t>(target)))
        offer(static_cast<std::size_t>(source));
    else
      for (std::size_t source = 0; source < sources.size(); ++source) offer(source);
    if (targets[target] != 0) kept.row_ptr.push_back(static_cast<std::int64_t>(kept.columns.size()));
  }
  return kept;
}

Network copy_of(Network& network) { return without_neurons(network, all_alive(network)); }

Alive all_alive(const Network& network) {
  Alive alive;
  for (std::size_t l = 0; l < network.size(); ++l)
    alive.emplace_back(static_cast<std::size_t>(network.layer(l).outputs()), std::uint8_t{1});
  return alive;
}

Network without_neurons(Network& network, const Alive& alive) {
  require(alive.size() == network.size(), "without_neurons: flags for every layer");
  std::vector<std::unique_ptr<Layer>> layers;
  for (std::size_t l = 0; l < network.size(); ++l) {
    Layer& layer = network.layer(l);
    require(alive[l].size() == static_cast<std::size_t>(layer.outputs()) &&
                std::ranges::any_of(alive[l], [](std::uint8_t a) { return a != 0; }),
            "without_neurons: one flag per neuron, and one alive");
    require(network.follows(l + 1) || std::ranges::all_of(alive[l], [](std::uint8_t a) { return a != 0; }),
            "without_neurons: outputs cannot go");
    layers.push_back(reduced(
        layer, alive[l],
        network.follows(l) ? alive[l - 1] : Flags(static_cast<std::size_t>(layer.inputs()), std::uint8_t{1}),
        {}));
  }
  Network small(std::move(layers), network);
  Architecture* const net = network.architecture();
  if (net == nullptr) return small;
  // Of what lies between the layers, values alone came with it.
  const std::vector<Parameter*> from = net->parameters(), to = small.architecture()->parameters();
  for (std::size_t p = 0; p < from.size(); ++p) *to[p] = *from[p];
  const std::vector<Statistic> averages = net->statistics(), copies = small.architecture()->statistics();
  for (std::size_t s = 0; s < averages.size(); ++s) *copies[s].average = *averages[s].average;
  return small;
}

Network without_connections(Network& network, const std::vector<std::vector<std::uint8_t>>& drop) {
  require(drop.size() == network.size(), "without_connections: flags for every layer");
  std::vector<std::unique_ptr<Layer>> layers;
  for (std::size_t l = 0; l < network.size(); ++l) {
    Layer& layer = network.layer(l);
    require(drop[l].empty() || drop[l].size() == layer.weight().value.size(),
            "without_connections: one flag per weight");
    layers.push_back(reduced(layer, Flags(static_cast<std::size_t>(layer.outputs()), std::uint8_t{1}),
                             Flags(static_cast<std::size_t>(layer.inputs()), std::uint8_t{1}), drop[l]));
  }
  return Network(std::move(layers), network);
}

}  // namespace tulle
