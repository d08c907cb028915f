#include "tulle/train/build_smlp.h"

#include <fmt/format.h>

#include <numeric>

#include "tulle/base/error.h"
#include "tulle/base/name_table.h"
#include "tulle/data/loader.h"
#include "tulle/nn/precision.h"
#include "tulle/sparse/budgets.h"
#include "tulle/sparse/sampling.h"
#include "tulle/vision/smlp_net.h"

namespace tulle {
namespace {

// What a black pixel becomes by the scaling, in each channel on average.
std::vector<float> black(const Dataset& data) {
  const std::vector<float> means = scaling_means(data.scaling, data.train.inputs.features);
  const std::vector<float> factors = scaling_factors(data.scaling, data.train.inputs.features);
  const std::size_t plane = means.size() / static_cast<std::size_t>(data.image.channels);
  std::vector<float> values;
  for (std::size_t first = 0; first < means.size(); first += plane) {
    double sum = 0.0;
    for (std::size_t f = first; f < first + plane; ++f) sum -= static_cast<double>(means[f] * factors[f]);
    values.push_back(static_cast<float>(sum / static_cast<double>(plane)));
  }
  return values;
}

}  // namespace

SmlpShape smlp_shape(const Config& config, const Dataset& data) {
  if (data.image.channels == 0 || data.train.inputs.is_sparse())
    throw Error(ErrorKind::kConfig, "model.kind, found 'smlp', expected 'mlp' for data that are no images");
  const Config::Model& m = config.model;
  SmlpShape shape{.channels = data.image.channels,
                  .height = data.image.height,
                  .width = data.image.width,
                  .patch = static_cast<int>(m.patch),
                  .embedding = static_cast<std::int32_t>(m.width),
                  .depths = {m.depths.begin(), m.depths.end()},
                  .expansion = static_cast<int>(m.expansion),
                  .classes = static_cast<std::int32_t>(data.class_names.size()),
                  .drop_path = m.drop_path};
  const auto size = static_cast<int>(m.image_size);
  if (size > 0) {
    if (size < shape.height || size < shape.width)
      throw Error(ErrorKind::kConfig,
                  fmt::format("model.image_size, found {}, expected at least {} x {}, the "
                              "images of the data",
                              size, shape.height, shape.width));
    shape.height = shape.width = size;
  }
  check_shape(shape);
  return shape;
}

Network build_smlp(const Config& config, const Dataset& data) {
  const SmlpShape shape = smlp_shape(config, data);
  const std::vector<LayerOptions> options = smlp_layer_options(shape);
  std::vector<LayerShape> sides;
  for (const LayerOptions& layer : options) sides.push_back({layer.inputs, layer.outputs});
  const TopologyOptions topology = topology_options(config);
  const std::vector<std::int64_t> budgets = layer_budgets(topology, sides);
  const auto seed = static_cast<std::uint64_t>(config.run.seed);
  const Repair repair =
      find_name(repairs(), "topology.repair_isolated", config.topology.repair_isolated).repair;
  std::vector<std::optional<Topology>> topologies(options.size());
  for (std::size_t l = 0; l < options.size(); ++l) {
    if (static_cast<double>(budgets[l]) == sides[l].cells()) continue;
    topologies[l] = repair_isolated(
        draw_topology(topology, sides[l].outputs, sides[l].inputs, budgets[l], seed,
                      static_cast<std::uint32_t>(l)),
        repair, {.seed = seed, .stream = Stream::kTopology, .layer = static_cast<std::uint32_t>(l)});
  }
  const Precision precision = find_name(training_precisions(), "model.dtype", config.model.dtype).precision;
  return make_smlp(shape, {data.image.height, data.image.width, black(data)}, std::move(topologies), seed,
                   precision == Precision::kBf16);
}

}  // namespace tulle
