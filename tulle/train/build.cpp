#include "tulle/train/build.h"

#include <fmt/format.h>

#include "tulle/base/error.h"
#include "tulle/base/name_table.h"
#include "tulle/nn/dense_linear.h"
#include "tulle/nn/sparse_linear.h"
#include "tulle/sparse/budgets.h"
#include "tulle/sparse/sampling.h"

namespace tulle {
namespace {

TopologyOptions topology_options(const Config& config) {
  return {.distribution = config.topology.distribution,
          .epsilon = config.topology.epsilon,
          .density = config.topology.density,
          .fan_in = config.topology.fan_in,
          .budgets = config.topology.budgets};
}

}  // namespace

DataOptions data_options(const Config& config) {
  DataOptions options;
  options.format = config.data.format;
  options.train = config.data.train;
  options.train_labels = config.data.train_labels;
  options.test = config.data.test;
  options.test_labels = config.data.test_labels;
  options.valid_fraction = config.data.valid_fraction;
  options.scale = config.data.scale;
  options.sep = config.data.sep;
  options.header = config.data.header;
  options.label_column = config.data.label_column;
  options.max_rows = config.data.max_rows;
  options.nan = config.data.nan;
  options.seed = static_cast<std::uint64_t>(config.run.seed);
  options.ignore_unknown_labels = config.data.ignore_unknown_labels;
  return options;
}

WeightLaw weight_law(const Config& config) {
  return {.law = &find_name(weight_inits(), "topology.weight_init", config.topology.weight_init),
          .sparse_fan = config.topology.fan == "sparse"};
}

WeightLaw grow_law(const Config& config) {
  if (config.evolve.grow_init == "law") return weight_law(config);
  return {.law = &find_name(weight_inits(), "evolve.grow_init", config.evolve.grow_init)};
}

std::vector<std::int32_t> layer_sizes(const Config& config, const Dataset& data) {
  std::vector<std::int32_t> sizes{data.train.inputs.features};
  for (const std::int64_t neurons : config.model.hidden) sizes.push_back(static_cast<std::int32_t>(neurons));
  const std::size_t outputs = data.class_names.empty() ? 1 : data.class_names.size();
  sizes.push_back(static_cast<std::int32_t>(outputs));
  return sizes;
}

Model build_model(const Config& config, const Dataset& data) {
  const std::vector<std::int32_t> sizes = layer_sizes(config, data);
  const TopologyOptions options = topology_options(config);
  const std::vector<std::int64_t> budgets = layer_budgets(options, sizes);
  const auto seed = static_cast<std::uint64_t>(config.run.seed);

  const Precision precision = find_name(training_precisions(), "model.dtype", config.model.dtype).precision;
  std::vector<std::unique_ptr<Layer>> layers;
  for (std::size_t l = 0; l + 1 < sizes.size(); ++l) {
    const bool last = l + 2 == sizes.size();
    const LayerOptions layer{.index = static_cast<std::int32_t>(l),
                             .inputs = sizes[l],
                             .outputs = sizes[l + 1],
                             .activation = last ? "identity" : config.model.activation,
                             .alpha = config.model.alpha,
                             .dropout = last ? 0.0 : config.model.dropout,
                             .seed = seed,
                             .precision = precision};
    if (budgets[l] ==
        std::int64_t{sizes[l]} * sizes[l + 1])  // density 1: stored and computed as a dense matrix
      layers.push_back(std::make_unique<DenseLinear>(layer));
    else
      layers.push_back(std::make_unique<SparseLinear>(
          layer,
          draw_topology(options, sizes[l + 1], sizes[l], budgets[l], seed, static_cast<std::uint32_t>(l))));
  }

  Model model{.network = Network(std::move(layers)),
              .loss = config.model.loss,
              .scaling = data.scaling,
              .class_names = data.class_names,
              .image = data.image,
              .seed = seed,
              .config = {}};
  const WeightLaw law = weight_law(config);
  for (std::size_t l = 0; l < model.network.size(); ++l) {
    Layer& layer = model.network.layer(l);
    const Topology topology =
        layer.topology() != nullptr ? *layer.topology() : full_topology(layer.outputs(), layer.inputs());
    const std::vector<float> values =
        initial_weights(*law.law, init_context(model.network, l, topology, law),
                        {.seed = seed, .stream = Stream::kValue, .layer = static_cast<std::uint32_t>(l)});
    layer.weight().value.assign(values.begin(), values.end());
  }
  return model;
}

}  // namespace tulle
