#include "tulle/evolve/evolve.h"

#include <utility>

#include "tulle/base/parallel.h"
#include "tulle/nn/sparse_linear.h"

namespace tulle {

InitContext init_context(const Network& network, std::size_t l, const Topology& topology,
                         const WeightLaw& law) {
  InitContext context{.topology = topology, .sparse_fan = law.sparse_fan};
  if (l > 0) {
    const Layer& source = network.layer(l - 1);
    context.source_second_moment = second_moment(source.activation()) / (1.0 - source.dropout());
  }
  return context;
}

namespace {

// Networks with fewer connections evolve their layers side by side; in larger ones the temporaries of about
// 40 bytes for each connection of a layer would add up.
constexpr std::int64_t kSideBySide = std::int64_t{1} << 24;

LayerEvolution evolve_layer(Network& network, std::size_t l, SparseLinear& layer, const TopologyRule& rule,
                            const WeightLaw& law, std::uint64_t seed, std::uint32_t event) {
  const auto index = static_cast<std::uint32_t>(l);
  const std::int64_t before = layer.connections();
  const TopologyUpdate update =
      rule.evolve({.topology = *layer.topology(),
                   .weights = layer.weight().value,
                   .grow = {.seed = seed, .stream = Stream::kGrow, .layer = index, .event = event}});

  const InitContext context = init_context(network, l, update.topology, law);
  const Random random{.seed = seed, .stream = Stream::kGrowValue, .layer = index, .event = event};
  std::vector<float> values(update.source.size(), 0.0f);
  std::size_t k = 0;
  for (std::int32_t target = 0; target < update.topology.rows(); ++target) {
    const double spread = law.law->spread(context, target);
    for (const std::int32_t source : update.topology.row(target)) {
      const std::uint64_t cell =
          static_cast<std::uint64_t>(target) * static_cast<std::uint64_t>(layer.inputs()) +
          static_cast<std::uint64_t>(source);
      if (update.source[k] == TopologyUpdate::kGrown) values[k] = draw_weight(*law.law, spread, random, cell);
      ++k;
    }
  }
  layer.replace(update, values);
  return {.layer = l,
          .before = before,
          .after = layer.connections(),
          .dropped = update.dropped(before),
          .grown = update.grown()};
}

}  // namespace

std::vector<LayerEvolution> evolve(Network& network, const TopologyRule& rule, const WeightLaw& law,
                                   std::uint64_t seed, std::uint32_t event) {
  std::vector<std::pair<std::size_t, SparseLinear*>> layers;
  for (std::size_t l = 0; l + 1 < network.size(); ++l)
    if (auto* layer = dynamic_cast<SparseLinear*>(&network.layer(l))) layers.emplace_back(l, layer);
  std::vector<LayerEvolution> events(layers.size());
  auto one = [&](int i) {
    const auto& [l, layer] = layers[static_cast<std::size_t>(i)];
    events[static_cast<std::size_t>(i)] = evolve_layer(network, l, *layer, rule, law, seed, event);
  };
  const auto count = static_cast<int>(layers.size());
  if (network.connections() < kSideBySide)
    parallel_parts(count, one);
  else
    for (int i = 0; i < count; ++i) one(i);
  return events;
}

}  // namespace tulle
