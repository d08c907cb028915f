#include "tulle/evolve/importance.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "tulle/base/check.h"
#include "tulle/nn/compaction.h"
#include "tulle/nn/sparse_layer.h"

namespace tulle {
namespace {

constexpr StrengthInfo kStrengths[] = {
    {"in", "weights into the neuron (as published)", [](double in, double) { return in; }},
    {"out", "weights out of the neuron", [](double, double out) { return out; }},
    {"sum", "both", [](double in, double out) { return in + out; }},
    {"product", "one times the other", [](double in, double out) { return in * out; }},
};

// body(target, source, place of the weight) for every weight of a layer.
template <class Body>
void for_weights(const Layer& layer, const Body& body) {
  std::size_t place = 0;
  for (std::int32_t target = 0; target < layer.outputs(); ++target) {
    if (const Topology* const topology = layer.topology())
      for (const std::int32_t source : topology->row(target)) body(target, source, place++);
    else
      for (std::int32_t source = 0; source < layer.inputs(); ++source) body(target, source, place++);
  }
}

std::size_t at(std::int32_t neuron) { return static_cast<std::size_t>(neuron); }

// Of the outputs of layer l.
std::vector<double> strengths_of(const Network& network, std::size_t l, const StrengthInfo& strength) {
  const auto neurons = at(network.layer(l).outputs());
  std::vector<double> in(neurons, 0.0), out(neurons, 0.0);
  for_weights(network.layer(l), [&](std::int32_t target, std::int32_t, std::size_t place) {
    in[at(target)] += std::abs(network.layer(l).weight().value[place]);
  });
  for_weights(network.layer(l + 1), [&](std::int32_t, std::int32_t source, std::size_t place) {
    out[at(source)] += std::abs(network.layer(l + 1).weight().value[place]);
  });
  for (std::size_t j = 0; j < neurons; ++j) in[j] = strength.of(in[j], out[j]);
  return in;
}

// Those whose neurons the next layer alone reads.
std::vector<std::size_t> hidden_layers(const Network& network) {
  std::vector<std::size_t> layers;
  for (std::size_t l = 0; l + 1 < network.size(); ++l)
    if (network.follows(l + 1)) layers.push_back(l);
  return layers;
}

/// One elimination at work.
class Elimination {
 public:
  Elimination(Network& network, const ImportanceOptions& options)
      : network_(network), options_(options), hidden_(hidden_layers(network)), alive_(all_alive(network)) {}

  std::vector<LayerElimination> run() {
    const StrengthInfo& strength = options_.strength == nullptr ? kStrengths[0] : *options_.strength;
    std::vector<std::vector<double>> of_layers;  // all before any neuron goes
    for (const std::size_t l : hidden_) of_layers.push_back(strengths_of(network_, l, strength));
    for (std::size_t i = 0; i < hidden_.size(); ++i) remove_weakest(hidden_[i], of_layers[i]);
    for (bool more = options_.cascade; more;) {
      const auto unfed = remove_unfed();  // first: the order is part of the result
      more = unfed + remove_unused() > 0;
    }
    std::vector<LayerElimination> results;
    for (const std::size_t l : hidden_)
      results.push_back({.layer = l, .before = network_.layer(l).outputs(), .after = live(l)});
    if (std::ranges::any_of(results, [](const LayerElimination& r) { return r.after != r.before; }))
      network_ = without_neurons(network_, alive_);
    return results;
  }

 private:
  using Numbers = AlignedVector<float> Parameter::*;

  std::int64_t live(std::size_t l) const {
    return std::count(alive_[l].begin(), alive_[l].end(), std::uint8_t{1});
  }

  // How many of layer l's neurons may still go.
  std::int64_t spare(std::size_t l) const {
    const double original = network_.layer(l).original_outputs();
    const double least =
        options_.min_neurons < 1.0 ? std::ceil(options_.min_neurons * original) : options_.min_neurons;
    return std::max<std::int64_t>(live(l) - std::max<std::int64_t>(static_cast<std::int64_t>(least), 1), 0);
  }

  void remove_weakest(std::size_t l, const std::vector<double>& strength) {
    std::vector<std::size_t> order(strength.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    // NaN counts as the strongest: a training that diverges must not lose its order.
    std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) {
      return strength[a] < strength[b] || (!std::isnan(strength[a]) && std::isnan(strength[b]));
    });
    const auto wanted =
        static_cast<std::int64_t>(options_.percentile * static_cast<double>(order.size()) / 100.0);
    const auto count = static_cast<std::size_t>(std::min(wanted, spare(l)));
    std::vector<std::uint8_t> gone(strength.size(), 0);
    for (std::size_t i = 0; i < count; ++i) {
      alive_[l][order[i]] = 0;
      gone[order[i]] = 1;
    }
    if (!options_.means.empty())
      leave_constants(l, gone, [&](std::int32_t neuron, Numbers) { return options_.means[l][at(neuron)]; });
  }

  // body(target, source, place) for the weights of layer l between live neurons.
  template <class Body>
  void for_live_weights(std::size_t l, const Body& body) const {
    for_weights(network_.layer(l), [&](std::int32_t target, std::int32_t source, std::size_t place) {
      if (alive_[l][at(target)] != 0 && (!network_.follows(l) || alive_[l - 1][at(source)] != 0))
        body(target, source, place);
    });
  }

  std::int64_t remove_unfed() {
    std::int64_t removed = 0;
    for (const std::size_t l : hidden_) {
      std::vector<std::uint8_t> fed(alive_[l].size(), 0);
      for_live_weights(l, [&](std::int32_t target, std::int32_t, std::size_t) { fed[at(target)] = 1; });
      const std::vector<std::uint8_t> gone = remove(l, fed);
      if (gone.empty()) continue;
      removed += std::count(gone.begin(), gone.end(), std::uint8_t{1});
      // A neuron without inputs always says f(bias).
      const Layer& layer = network_.layer(l);
      leave_constants(l, gone, [&](std::int32_t neuron, Numbers of) {
        const double z = (layer.bias().*of)[at(neuron)];
        const Architecture* const net = network_.architecture();
        return net != nullptr ? net->activated(z)
                              : double{layer.activation().value(static_cast<float>(z), neuron)};
      });
    }
    return removed;
  }

  std::int64_t remove_unused() {
    std::int64_t removed = 0;
    for (std::size_t i = hidden_.size(); i-- > 0;) {
      const std::size_t l = hidden_[i];
      std::vector<std::uint8_t> used(alive_[l].size(), 0);
      for_live_weights(l + 1, [&](std::int32_t, std::int32_t source, std::size_t) { used[at(source)] = 1; });
      const std::vector<std::uint8_t> gone = remove(l, used);
      removed += std::count(gone.begin(), gone.end(), std::uint8_t{1});
    }
    return removed;
  }

  // Lets the neurons go that are alive but not `needed`, as far as the layer can spare them. Returns which.
  std::vector<std::uint8_t> remove(std::size_t l, const std::vector<std::uint8_t>& needed) {
    std::vector<std::uint8_t> gone;
    std::int64_t left = spare(l);
    for (std::size_t j = 0; j < needed.size() && left > 0; ++j) {
      if (alive_[l][j] == 0 || needed[j] != 0) continue;
      gone.resize(needed.size(), 0);
      alive_[l][j] = 0;
      gone[j] = 1;
      --left;
    }
    return gone;
  }

  // What follows layer l takes what neurons that go say, constant(neuron, of the values or the averages),
  // into its biases; into the averages of these too, which would else answer as if the neurons had said
  // nothing.
  template <class Constant>
  void leave_constants(std::size_t l, const std::vector<std::uint8_t>& gone, const Constant& constant) {
    Layer& next = network_.layer(l + 1);
    for (const Numbers of : {&Parameter::value, &Parameter::average}) {
      AlignedVector<float>& biases = next.bias().*of;
      const AlignedVector<float>& weights = next.weight().*of;
      if (biases.empty() || weights.empty()) continue;
      for_weights(next, [&](std::int32_t target, std::int32_t source, std::size_t place) {
        if (gone[at(source)] != 0)
          biases[at(target)] += static_cast<float>(constant(source, of) * weights[place]);
      });
    }
  }

  Network& network_;
  const ImportanceOptions& options_;
  const std::vector<std::size_t> hidden_;
  Alive alive_;
};

}  // namespace

std::span<const StrengthInfo> strengths() { return kStrengths; }

std::vector<LayerElimination> eliminate_neurons(Network& network, const ImportanceOptions& options) {
  require(options.percentile >= 0.0 && options.percentile <= 100.0,
          "eliminate_neurons: a percentile is 0 to 100");
  require(options.means.empty() ||
              (network.architecture() == nullptr && options.means.size() + 1 == network.size()),
          "eliminate_neurons: means must be those of every hidden layer of a chain");
  for (std::size_t l = 0; l < options.means.size(); ++l)
    require(std::cmp_equal(options.means[l].size(), network.layer(l).outputs()),
            "eliminate_neurons: means must be those of every neuron");
  return Elimination(network, options).run();
}

std::int64_t prune_as_published(Network& network, double percentile) {
  std::int64_t pruned = 0;
  for (const std::size_t l : hidden_layers(network)) {
    auto* layer = dynamic_cast<SparseLayer*>(&network.layer(l));
    if (layer == nullptr) continue;
    const std::vector<double> strength = strengths_of(network, l, kStrengths[0]);
    std::vector<double> sorted = strength;
    std::ranges::sort(sorted);
    const double place = percentile / 100.0 * static_cast<double>(sorted.size() - 1);
    const auto low = static_cast<std::size_t>(place);
    const double next = sorted[std::min(low + 1, sorted.size() - 1)];
    const double limit = sorted[low] + (place - static_cast<double>(low)) * (next - sorted[low]);
    std::vector<std::uint8_t> marks(layer->weight().value.size(), 0);
    for_weights(*layer, [&](std::int32_t target, std::int32_t, std::size_t k) {
      marks[k] = strength[at(target)] <= limit ? 1 : 0;
    });
    TopologyUpdate update = without(*layer->topology(), marks);
    pruned += update.dropped(layer->connections());
    layer->replace(std::move(update), {});
  }
  return pruned;
}

}  // namespace tulle
