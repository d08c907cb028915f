#include "tulle/sparse/budgets.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tulle/base/check.h"
#include "tulle/base/error.h"
#include "tulle/base/name_table.h"
#include "tulle/sparse/erdos_renyi.h"
#include "tulle/sparse/patterns.h"

namespace tulle {
namespace {

using Shapes = std::span<const LayerShape>;

// Rounds so that the total is the rounded total: the layers with the largest remainders get one more.
std::vector<std::int64_t> round_by_largest_remainder(const std::vector<double>& wanted) {
  std::vector<std::int64_t> rounded(wanted.size());
  std::vector<std::size_t> order(wanted.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (std::size_t l = 0; l < wanted.size(); ++l)
    rounded[l] = static_cast<std::int64_t>(std::floor(wanted[l]));
  const double total = std::accumulate(wanted.begin(), wanted.end(), 0.0);
  std::int64_t missing =
      std::llround(total) - std::accumulate(rounded.begin(), rounded.end(), std::int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return wanted[a] - std::floor(wanted[a]) > wanted[b] - std::floor(wanted[b]);
  });
  for (std::size_t i = 0; i < order.size() && missing > 0; ++i, --missing) ++rounded[order[i]];
  return rounded;
}

void check_epsilon(const TopologyOptions& options) {
  if (!(options.epsilon > 0.0))
    throw Error(ErrorKind::kConfig,
                fmt::format("topology.epsilon, found {}, expected above 0", options.epsilon));
}

std::vector<std::int64_t> epsilon_budgets(const TopologyOptions& options, Shapes layers) {
  check_epsilon(options);
  std::vector<std::int64_t> budgets;
  for (std::size_t l = 0; l < layers.size(); ++l)
    budgets.push_back(static_cast<std::int64_t>(
        std::floor(std::min(options.epsilon * layers[l].sides(), layers[l].cells()) + 0.5)));
  return budgets;
}

double bernoulli_probability(const TopologyOptions& options, const LayerShape& layer) {
  return std::min(1.0, options.epsilon * layer.sides() / layer.cells());
}

// Rounded down: as many as cells only where every cell is certain.
std::vector<std::int64_t> bernoulli_budgets(const TopologyOptions& options, Shapes layers) {
  check_epsilon(options);
  std::vector<std::int64_t> budgets;
  for (std::size_t l = 0; l < layers.size(); ++l)
    budgets.push_back(
        static_cast<std::int64_t>(std::min(options.epsilon * layers[l].sides(), layers[l].cells())));
  return budgets;
}

double replaced_draws(const TopologyOptions& options, const LayerShape& layer) {
  return std::floor(options.epsilon) * layer.sides();
}

std::vector<std::int64_t> replace_budgets(const TopologyOptions& options, Shapes layers) {
  if (!(options.epsilon >= 1.0))
    throw Error(ErrorKind::kConfig, fmt::format("topology.epsilon, found {}, expected 1 or more with "
                                                "topology.distribution = \"er-replace\"",
                                                options.epsilon));
  std::vector<std::int64_t> budgets;
  for (std::size_t l = 0; l < layers.size(); ++l)
    budgets.push_back(static_cast<std::int64_t>(
        expected_merged_draws(layers[l].cells(), replaced_draws(options, layers[l]))));
  return budgets;
}

bool is_dense(const TopologyOptions& options, std::size_t layer, std::size_t layers) {
  return std::ranges::any_of(options.dense_layers, [&](std::int64_t wanted) {
    return wanted == static_cast<std::int64_t>(layer) ||
           wanted == static_cast<std::int64_t>(layer) - static_cast<std::int64_t>(layers);
  });
}

void check_density(double density) {
  if (!(density > 0.0 && density <= 1.0))
    throw Error(ErrorKind::kConfig,
                fmt::format("topology.density, found {}, expected above 0 and at most 1", density));
}

std::vector<std::int64_t> uniform_budgets(const TopologyOptions& options, Shapes layers) {
  check_density(options.density);
  std::vector<double> wanted;
  for (std::size_t l = 0; l < layers.size(); ++l) wanted.push_back(options.density * layers[l].cells());
  return round_by_largest_remainder(wanted);
}

// A layer gets s * (n_in + n_out) connections; those that would exceed their cells are capped and s is solved
// again over the rest until no layer exceeds.
std::vector<std::int64_t> erk_budgets(const TopologyOptions& options, Shapes layers) {
  check_density(options.density);
  double all_cells = 0.0;
  for (std::size_t l = 0; l < layers.size(); ++l) all_cells += layers[l].cells();
  std::vector<bool> capped(layers.size(), false);
  for (std::size_t l = 0; l < layers.size(); ++l) capped[l] = is_dense(options, l, layers.size());
  double scale = 0.0;
  for (bool changed = true; changed;) {
    changed = false;
    double left = options.density * all_cells, sides = 0.0;
    for (std::size_t l = 0; l < layers.size(); ++l) {
      if (capped[l])
        left -= layers[l].cells();
      else
        sides += layers[l].sides();
    }
    if (left < 0.0)
      throw Error(ErrorKind::kConfig,
                  fmt::format("topology.density, found {}, expected more: topology.dense_layers "
                              "alone take more connections",
                              options.density));
    scale = sides > 0.0 ? left / sides : 0.0;
    for (std::size_t l = 0; l < layers.size(); ++l)
      if (!capped[l] && scale * layers[l].sides() > layers[l].cells()) capped[l] = changed = true;
  }
  std::vector<double> wanted;
  for (std::size_t l = 0; l < layers.size(); ++l)
    wanted.push_back(capped[l] ? layers[l].cells() : scale * layers[l].sides());
  return round_by_largest_remainder(wanted);
}

std::vector<std::int64_t> fan_in_budgets(const TopologyOptions& options, Shapes layers) {
  if (options.fan_in < 1)
    throw Error(ErrorKind::kConfig,
                fmt::format("topology.fan_in, found {}, expected at least 1", options.fan_in));
  std::vector<std::int64_t> budgets;
  for (std::size_t l = 0; l < layers.size(); ++l)
    budgets.push_back(std::min<std::int64_t>(options.fan_in, layers[l].inputs) * layers[l].outputs);
  return budgets;
}

std::vector<std::int64_t> explicit_budgets(const TopologyOptions& options, Shapes layers) {
  if (options.budgets.size() != layers.size())
    throw Error(ErrorKind::kConfig,
                fmt::format("topology.budgets, found {} numbers, expected {} (one per layer)",
                            options.budgets.size(), layers.size()));
  for (std::size_t l = 0; l < layers.size(); ++l)
    if (options.budgets[l] < 1 || static_cast<double>(options.budgets[l]) > layers[l].cells())
      throw Error(ErrorKind::kConfig, fmt::format("topology.budgets[{}], found {}, expected 1 to {:.0f}", l,
                                                  options.budgets[l], layers[l].cells()));
  return options.budgets;
}

Topology draw_fan_in(const TopologyOptions&, const LayerShape& layer, std::int64_t budget,
                     const Random& key) {
  return fixed_fan_in_topology(layer.outputs, layer.inputs, static_cast<std::int32_t>(budget / layer.outputs),
                               key);
}

Topology draw_bernoulli(const TopologyOptions& options, const LayerShape& layer, std::int64_t,
                        const Random& key) {
  return bernoulli_topology(layer.outputs, layer.inputs, bernoulli_probability(options, layer), key);
}

Topology draw_with_replacement(const TopologyOptions& options, const LayerShape& layer, std::int64_t,
                               const Random& key) {
  return merged_draws_topology(layer.outputs, layer.inputs,
                               static_cast<std::int64_t>(replaced_draws(options, layer)), key);
}

// To add a distribution: its budgets and how they are drawn above, and one line here.
constexpr DistributionInfo kDistributions[] = {
    {"epsilon", "Erdos-Renyi: epsilon * (n_in + n_out) connections per layer, at most all",
     "Mocanu et al. 2018", epsilon_budgets, nullptr},
    {"er-bernoulli", "each cell with probability epsilon * (n_in + n_out) / (n_in * n_out), by itself",
     "code of Curci et al. 2021, he_uniform and xavier", bernoulli_budgets, draw_bernoulli, false},
    {"er-replace", "floor(epsilon) * (n_in + n_out) cells drawn with replacement, those drawn again merged",
     "code of Curci et al. 2021, normal", replace_budgets, draw_with_replacement, false},
    {"uniform", "the same density in every layer", "", uniform_budgets, nullptr},
    {"erk", "Erdos-Renyi with epsilon solved from the density of the whole net", "Evci et al. 2020",
     erk_budgets, nullptr},
    {"fixed-fan-in", "every neuron has exactly fan_in inputs", "", fan_in_budgets, draw_fan_in},
    {"explicit", "the numbers in topology.budgets", "", explicit_budgets, nullptr},
};

}  // namespace

std::span<const DistributionInfo> distributions() { return kDistributions; }

std::vector<std::int64_t> layer_budgets(const TopologyOptions& options, Shapes layers) {
  const DistributionInfo& distribution =
      find_name(distributions(), "topology.distribution", options.distribution);
  require(!layers.empty() &&
              std::ranges::all_of(
                  layers, [](const LayerShape& layer) { return layer.inputs >= 1 && layer.outputs >= 1; }),
          "layer_budgets: a network needs a layer or more, each with inputs and outputs");
  if (options.pattern != "random" && distribution.draw != nullptr)
    throw Error(
        ErrorKind::kConfig,
        fmt::format("topology.pattern, found '{}', expected 'random' with topology.distribution = \"{}\"",
                    options.pattern, distribution.name));
  if (options.window.width > 0 && (options.pattern != "random" || distribution.draw != nullptr))
    throw Error(ErrorKind::kConfig,
                fmt::format("topology.window, found {}, expected 0 with {}", options.window.width,
                            distribution.draw != nullptr
                                ? fmt::format("topology.distribution = \"{}\"", distribution.name)
                                : fmt::format("topology.pattern = \"{}\"", options.pattern)));
  const auto count = static_cast<std::int64_t>(layers.size());
  for (const std::int64_t layer : options.dense_layers)
    if (layer < -count || layer >= count)
      throw Error(ErrorKind::kConfig, fmt::format("topology.dense_layers, found {}, expected {} to {}", layer,
                                                  -count, count - 1));
  std::vector<std::int64_t> budgets = distribution.budgets(options, layers);
  for (std::size_t l = 0; l < budgets.size(); ++l)
    if (is_dense(options, l, layers.size())) budgets[l] = static_cast<std::int64_t>(layers[l].cells());
  for (std::size_t l = 0; l < budgets.size(); ++l)
    budgets[l] = std::clamp<std::int64_t>(budgets[l], 1, static_cast<std::int64_t>(layers[l].cells()));
  return budgets;
}

std::vector<std::int64_t> layer_budgets(const TopologyOptions& options, std::span<const std::int32_t> sizes) {
  std::vector<LayerShape> layers;
  for (std::size_t l = 0; l + 1 < sizes.size(); ++l) layers.push_back({sizes[l], sizes[l + 1]});
  return layer_budgets(options, layers);
}

Topology draw_topology(const TopologyOptions& options, std::int32_t n_out, std::int32_t n_in,
                       std::int64_t budget, std::uint64_t seed, std::uint32_t layer) {
  const Random key{.seed = seed, .stream = Stream::kTopology, .layer = layer};
  const DistributionInfo& distribution =
      find_name(distributions(), "topology.distribution", options.distribution);
  if (budget == std::int64_t{n_in} * n_out) return full_topology(n_out, n_in);
  if (distribution.draw != nullptr) return distribution.draw(options, {n_in, n_out}, budget, key);
  if (options.window.width > 0) return windowed_topology(n_out, n_in, budget, options.window, key);
  return find_name(patterns(), "topology.pattern", options.pattern)
      .draw(n_out, n_in, budget, options.rewire, key);
}

}  // namespace tulle
