#include <algorithm>
#include <cmath>

#include "tulle/nn/sparse_linear.h"
#include "tulle/recover/task.h"

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

}  // namespace tulle
