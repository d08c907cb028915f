#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tulle/sparse/sampling.h"
#include "tulle/sparse/window.h"

namespace tulle {

/// How many connections each layer of a network gets, as the config's [topology] describes it.
struct TopologyOptions {
  std::string distribution = "epsilon";      // a name of distributions()
  double epsilon = 20.0;                     // epsilon, er-*: connections per neuron of both sides
  double density = 0.1;                      // uniform, erk: share of all cells
  std::int64_t fan_in = 16;                  // fixed-fan-in
  std::vector<std::int64_t> budgets{};       // explicit: one number per layer
  std::vector<std::int64_t> dense_layers{};  // layers that get every connection, from 0, or from -1 at the
                                             // end; erk counts them toward its density
  std::string pattern = "random";            // a name of patterns(): where the connections lie
  double rewire = 0.1;                       // watts-strogatz: share of connections that are moved
  WindowLaw window{};                        // random: most connections near their targets
};

/// A layer between its inputs and outputs.
struct LayerShape {
  std::int32_t inputs = 0;
  std::int32_t outputs = 0;

  double cells() const { return static_cast<double>(inputs) * static_cast<double>(outputs); }
  double sides() const { return static_cast<double>(inputs) + static_cast<double>(outputs); }
};

struct DistributionInfo {
  std::string_view name;
  std::string_view help;
  std::string_view source;
  std::vector<std::int64_t> (*budgets)(const TopologyOptions&, std::span<const LayerShape> layers);
  /// A layer that is not dense with its budget; null: as the pattern lays it out.
  Topology (*draw)(const TopologyOptions&, const LayerShape&, std::int64_t budget, const Random& key);
  bool exact = true;  // false: the budget is what is expected; the number that is drawn is random
};

std::span<const DistributionInfo> distributions();

/// The number of connections per layer, each at least 1 and at most n_in * n_out; exact where the
/// distribution is.
/// Throws tulle::Error (kConfig) for an unknown name or options that make no sense, std::invalid_argument
/// unless there is a layer or more, each with inputs and outputs.
std::vector<std::int64_t> layer_budgets(const TopologyOptions& options, std::span<const LayerShape> layers);
/// The same for consecutive layers sizes[l] -> sizes[l + 1].
std::vector<std::int64_t> layer_budgets(const TopologyOptions& options, std::span<const std::int32_t> sizes);

/// Layer `layer` (from 0) with its budget, drawn from (seed, Stream::kTopology, layer). Cost: O(budget), of
/// er-replace O(draws).
Topology draw_topology(const TopologyOptions& options, std::int32_t n_out, std::int32_t n_in,
                       std::int64_t budget, std::uint64_t seed, std::uint32_t layer);

}  // namespace tulle
