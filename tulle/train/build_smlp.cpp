#include "tulle/train/build_smlp.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "tulle/base/error.h"
#include "tulle/base/name_table.h"
#include "tulle/checkpoint/model_file.h"
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

// Every target reads all channels of the parts.
Topology reading(const LayerOptions& fuse, const std::vector<int>& parts) {
  RawVector<std::int64_t> row_ptr{0};
  RawVector<std::int32_t> columns;
  for (std::int32_t target = 0; target < fuse.outputs; ++target) {
    for (const int part : parts)
      for (std::int32_t c = 0; c < fuse.outputs; ++c) columns.push_back(part * fuse.outputs + c);
    row_ptr.push_back(static_cast<std::int64_t>(columns.size()));
  }
  return Topology(fuse.outputs, fuse.inputs, std::move(row_ptr), std::move(columns));
}

// The network of train.start_from, which must have this shape but for its classes and its stochastic depth.
Model start_model(const std::string& path, const SmlpShape& shape) {
  Model model = load_model(path).model;
  const SmlpNet* const net = smlp_of(model.network);
  const auto refuse = [&](std::string_view what, const std::string& found, const std::string& expected) {
    throw Error(
        ErrorKind::kConfig, {.file = path},
        fmt::format("{}, found {}, expected {} as the data and the config say", what, found, expected));
  };
  if (net == nullptr) refuse("network", "a perceptron", "an sMLPNet");
  const auto text_of = [](const SmlpShape& s) {
    return fmt::format("{} x {} x {} pixels, patch {}, width {}, depths {}, expansion {}", s.channels,
                       s.height, s.width, s.patch, s.embedding, fmt::join(s.depths, "-"), s.expansion);
  };
  if (text_of(net->shape()) != text_of(shape)) refuse("network", text_of(net->shape()), text_of(shape));
  return model;
}

// Connections, weights and statistics of another network. Its head too, where that is for the same classes.
void start_like(Network& network, const Model& from, const std::vector<std::string>& class_names) {
  const bool same_classes = from.class_names == class_names || from.class_names.empty();
  std::vector<NamedArray> targets = network.architecture()->arrays();
  const std::vector<NamedArray> sources = from.network.architecture()->arrays();
  for (std::size_t a = 0; a < targets.size(); ++a)
    if (targets[a].shape == sources[a].shape && (same_classes || !targets[a].name.starts_with("mlp_head.")))
      *targets[a].values = *sources[a].values;
  for (std::size_t l = 0; l < network.size(); ++l) {
    const auto values = network.layer(l).parameters();
    const auto given = const_cast<Layer&>(from.network.layer(l)).parameters();
    for (std::size_t p = 0; p < values.size(); ++p) values[p]->value = given[p]->value;
  }
}

}  // namespace

std::vector<int> mix_parts(const Config& config) {
  constexpr std::string_view kParts[] = {"identity", "rows", "columns"};
  std::set<int> parts;
  for (const std::string& text : config.model.mix) {
    const auto found = std::ranges::find(kParts, text);
    if (found == std::end(kParts)) throw unknown_name("model.mix", text, {"identity", "rows", "columns"});
    parts.insert(static_cast<int>(found - std::begin(kParts)));
  }
  if (parts.empty())
    throw Error(ErrorKind::kConfig, "model.mix, found none, expected some of identity, rows and columns");
  return {parts.begin(), parts.end()};
}

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
  const auto filled = [&](int side) { return (side + shape.patch - 1) / shape.patch * shape.patch; };
  if (m.pad_input) shape.height = filled(shape.height), shape.width = filled(shape.width);
  check_shape(shape);
  if (const auto stage = odd_stage(shape); stage && m.strict_size)
    throw Error(
        ErrorKind::kConfig,
        fmt::format("model.strict_size, found {} x {} tokens in stage {}, expected even sides, of which "
                    "the next stage loses nothing",
                    shape.stage_height(*stage), shape.stage_width(*stage), *stage));
  return shape;
}

Network build_smlp(const Config& config, const Dataset& data) {
  const SmlpShape shape = smlp_shape(config, data);
  const auto seed = static_cast<std::uint64_t>(config.run.seed);
  const SmlpInput input{data.image.height, data.image.width, black(data)};
  const bool bf16 =
      find_name(training_precisions(), "model.dtype", config.model.dtype).precision == Precision::kBf16;
  if (!config.train.start_from.empty()) {
    const Model start = start_model(config.train.start_from, shape);
    SmlpShape left = shape;  // without the hidden channels that went there
    left.hidden = smlp_of(start.network)->shape().hidden;
    std::vector<std::optional<Topology>> topologies;
    for (std::size_t l = 0; l < start.network.size(); ++l) {
      const Topology* const topology = start.network.layer(l).topology();
      topologies.push_back(topology == nullptr ? std::nullopt : std::optional(*topology));
    }
    Network network = make_smlp(left, input, std::move(topologies), seed, bf16);
    start_like(network, start, data.class_names);
    return network;
  }
  const std::vector<LayerOptions> options = smlp_layer_options(shape);
  std::vector<LayerShape> sides;
  for (const LayerOptions& layer : options) sides.push_back({layer.inputs, layer.outputs});
  const TopologyOptions topology = topology_options(config);
  const std::vector<std::int64_t> budgets = layer_budgets(topology, sides);
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
  const std::vector<int> parts = mix_parts(config);
  for (std::size_t l = 0; l < options.size() && parts.size() < 3; l += 3)
    topologies[l] = reading(options[l], parts);
  return make_smlp(shape, input, std::move(topologies), seed, bf16);
}

}  // namespace tulle
