#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "tulle/base/error.h"
#include "tulle/nn/sparse_linear.h"
#include "tulle/recover/task.h"
#include "tulle/sparse/sampling.h"

namespace tulle {

namespace {

// The rows of a layer: of each, where its nonzeros are and their values.
struct Rows {
  RawVector<std::int64_t> row_ptr{0};
  RawVector<std::int32_t> columns;
  std::vector<float> values;
  std::vector<float> bias;

  void add(std::int32_t column, double value) {
    columns.push_back(column);
    values.push_back(static_cast<float>(value));
  }
  void end_row(double of_bias = 0.0) {
    row_ptr.push_back(static_cast<std::int64_t>(columns.size()));
    bias.push_back(static_cast<float>(of_bias));
  }

  std::unique_ptr<Layer> layer(std::int32_t index, std::int32_t inputs, const char* activation) {
    const auto outputs = static_cast<std::int32_t>(bias.size());
    auto made = std::make_unique<SparseLinear>(
        LayerOptions{.index = index, .inputs = inputs, .outputs = outputs, .activation = activation},
        Topology(outputs, inputs, std::move(row_ptr), std::move(columns)));
    std::ranges::copy(values, made->weight().value.begin());
    std::ranges::copy(bias, made->bias().value.begin());
    return made;
  }
};

// u_j = sign_j w_j of the present neurons. Feature `ones`, if it is not -1, is the constant 1.
Rows hidden_rows(const SparseWeights& weights, std::int32_t ones) {
  Rows rows;
  for (const SparseWeights::Block& block : weights.blocks()) {
    double bias = 0.0;
    for (std::int64_t k = block.begin; k < block.end; ++k) {
      const auto at = static_cast<std::size_t>(k);
      const double value = block.sign * weights.values()[at];
      if (weights.feature()[at] == ones)
        bias = value;
      else
        rows.add(weights.feature()[at], value);
    }
    rows.end_row(bias);
  }
  if (weights.blocks().empty()) rows.end_row();  // a network has neurons
  return rows;
}

// body(target, source, weight), row by row.
void for_weights(Layer& layer, const std::function<void(std::int32_t, std::int32_t, double)>& body) {
  const Topology all =
      layer.topology() == nullptr ? full_topology(layer.outputs(), layer.inputs()) : Topology();
  const Topology& topology = layer.topology() == nullptr ? all : *layer.topology();
  for (std::int32_t row = 0; row < layer.outputs(); ++row)
    for (auto k = static_cast<std::size_t>(topology.row_ptr()[static_cast<std::size_t>(row)]);
         k < static_cast<std::size_t>(topology.row_ptr()[static_cast<std::size_t>(row) + 1]); ++k)
      body(row, topology.columns()[k], layer.weight().value[k]);
}

}  // namespace

Model to_model(const RecoverTask& task, const SparseNet& net, std::uint64_t seed) {
  std::vector<std::unique_ptr<Layer>> layers;
  std::int32_t inputs = task.x.features() - (task.bias ? 1 : 0), ones = task.bias ? inputs : -1, index = 0;
  const auto add = [&](Rows rows, const char* activation) {
    const auto outputs = static_cast<std::int32_t>(rows.bias.size());
    layers.push_back(rows.layer(index++, inputs, activation));
    inputs = outputs;
    ones = -1;
  };
  if (task.linear) {
    add(hidden_rows(net.weights, ones), "identity");
  } else {
    for (const SparseWeights& layer : net.below) add(hidden_rows(layer, ones), "relu");
    add(hidden_rows(net.weights, ones), "relu");
    Rows out;
    const std::span<const SparseWeights::Block> present = net.weights.blocks();
    const bool two = task.class_names.size() == 2 && task.outputs == 1;
    if (two) out.end_row(0.5);  // the first class wins below one half
    if (net.fused()) {
      for (std::size_t b = 0; b < present.size(); ++b) out.add(static_cast<std::int32_t>(b), present[b].sign);
      out.end_row();
    } else {
      for (std::int64_t o = 0; o < net.output.neurons(); ++o) {
        const SparseWeights::Block* const row = net.output.find(o);
        for (std::int64_t k = row == nullptr ? 0 : row->begin; row != nullptr && k < row->end; ++k) {
          const SparseWeights::Block* const block =
              net.weights.find(net.output.feature()[static_cast<std::size_t>(k)]);
          if (block != nullptr)
            out.add(static_cast<std::int32_t>(block - present.data()),
                    net.output.values()[static_cast<std::size_t>(k)]);
        }
        out.end_row();
      }
    }
    add(std::move(out), "identity");
  }
  return {.network = Network(std::move(layers)),
          .loss = task.classify ? "cross-entropy" : "mse",
          .scaling = task.scaling,
          .class_names = task.class_names,
          .index_base = -1,
          .image = {},
          .seed = seed,
          .config = {}};
}

SparseWeights to_weights(const Model& model, const RecoverTask& task, std::int64_t neurons) {
  const Network& network = model.network;
  const auto refuse = [](std::string_view what, const std::string& found, const std::string& expected) {
    throw Error(ErrorKind::kConfig,
                fmt::format("recover.start_from: {}, found {}, expected {}", what, found, expected));
  };
  const bool two = task.class_names.size() == 2;  // to_model() gives the first class one half
  const std::int32_t outputs = two ? 2 : 1, inputs = task.x.features() - (task.bias ? 1 : 0);
  if (network.architecture() != nullptr || network.size() != 2 || network.outputs() != outputs ||
      network.layer(0).options().activation != "relu" ||
      network.layer(1).options().activation != "identity" || (two && model.loss != "mse"))
    refuse("network", fmt::format("{} layers and {} outputs", network.size(), network.outputs()),
           "a hidden layer of ReLUs and one linear output");
  if (network.inputs() != inputs)
    refuse("features", fmt::format("{}", network.inputs()), fmt::format("{}, those of the data", inputs));
  if (model.scaling.mean != task.scaling.mean || model.scaling.deviation != task.scaling.deviation)
    refuse("scaling", "'" + model.scaling.kind + "'", "that of the data (data.scale)");
  Layer &hidden = const_cast<Layer&>(network.layer(0)), &last = const_cast<Layer&>(network.layer(1));
  const float constant = last.bias().value.back() - (two ? last.bias().value[0] - 0.5f : 0.0f);
  const bool biases =
      constant != 0.0f || std::ranges::any_of(hidden.bias().value, [](float b) { return b != 0.0f; });
  if (biases && !task.bias) refuse("biases", "some", "none without recover.bias = true");
  if (hidden.outputs() + (constant != 0.0f ? 1 : 0) > neurons)
    refuse("hidden neurons", fmt::format("{}", hidden.outputs() + (constant != 0.0f ? 1 : 0)),
           fmt::format("at most {} (recover.hidden_width)", neurons));

  // What each neuron adds to the output; of two classes, to the second's lead.
  std::vector<double> strength(static_cast<std::size_t>(hidden.outputs()), 0.0);
  for_weights(last, [&](std::int32_t output, std::int32_t neuron, double v) {
    strength[static_cast<std::size_t>(neuron)] += output + 1 == outputs ? v : -v;
  });
  std::vector<std::int64_t> places;
  std::vector<double> values;
  std::vector<std::int32_t> signs;  // of the neurons that are there
  const auto add = [&](std::int64_t neuron, std::int64_t feature, double weight, std::int32_t sign) {
    if (weight == 0.0) return;
    if (places.empty() || places.back() / task.x.features() != neuron) signs.push_back(sign);
    places.push_back(neuron * task.x.features() + feature);
    values.push_back(weight);
  };
  const auto add_of = [&](std::int32_t neuron, std::int64_t feature, double u) {
    const double v = strength[static_cast<std::size_t>(neuron)];
    add(neuron, feature, v * u, v < 0.0 ? -1 : 1);  // sign |v| u
  };
  std::int32_t row = 0;
  const auto end_rows = [&](std::int32_t until) {  // the constant 1 is the last feature
    for (; row < until; ++row)
      if (task.bias) add_of(row, inputs, hidden.bias().value[static_cast<std::size_t>(row)]);
  };
  for_weights(hidden, [&](std::int32_t neuron, std::int32_t feature, double u) {
    end_rows(neuron);
    add_of(neuron, feature, u);
  });
  end_rows(hidden.outputs());
  add(hidden.outputs(), inputs, constant, constant < 0.0f ? -1 : 1);  // a neuron that is always on
  SparseWeights weights(neurons, task.x.features(), std::move(places), std::move(values));
  for (std::size_t b = 0; b < signs.size(); ++b) weights.blocks()[b].sign = signs[b];
  return weights;
}

}  // namespace tulle
