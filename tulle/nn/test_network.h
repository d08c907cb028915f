#pragma once

// For tests only: random networks, the same networks for the oracle, and batches for both.

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tulle/kernels/test_problem.h"
#include "tulle/nn/bf16_weights.h"
#include "tulle/nn/dense_linear.h"
#include "tulle/nn/loss.h"
#include "tulle/nn/network.h"
#include "tulle/nn/oracle.h"
#include "tulle/nn/sparse_layer.h"
#include "tulle/sparse/sampling.h"

namespace tulle {

/// Relative error allowed against double precision: about 170 roundings, for sums of at most a few hundred
/// terms.
constexpr double kTolerance = 1e-5;
/// Nearer to a kink than this, rounding alone may choose the other side.
constexpr double kClear = 1e-5;

using kernels::Dice;

inline constexpr float kEpsilon = 0x1p-24f;  // largest relative error of one rounding

inline std::int32_t between(Dice& dice, std::int32_t low, std::int32_t high) {
  return low + static_cast<std::int32_t>(dice.below(static_cast<std::uint64_t>(high - low + 1)));
}

struct NetworkSpec {
  std::vector<std::int32_t> sizes;
  std::string activation = "all-relu";         // of hidden layers
  std::string output_activation = "identity";  // of the last
  std::vector<double> densities{0.5};          // of each layer; the last entry holds for the rest
  bool dense = false;                          // DenseLinear instead
  double dropout = 0.0;
  Precision precision = Precision::kFloat;
  Storage storage = Storage::kFast;
  bool bf16_weights = false;
  std::vector<bool> dense_layers{};  // which are DenseLinear; empty: as `dense` says
};

/// Random topologies, weights that keep sums near 1, biases and activation parameters of either sign.
inline Network make_network(const NetworkSpec& spec, Dice& dice) {
  std::vector<std::unique_ptr<Layer>> layers;
  for (std::size_t l = 0; l + 1 < spec.sizes.size(); ++l) {
    const bool last = l + 2 == spec.sizes.size();
    const LayerOptions options{.index = static_cast<std::int32_t>(l),
                               .inputs = spec.sizes[l],
                               .outputs = spec.sizes[l + 1],
                               .activation = last ? spec.output_activation : spec.activation,
                               .dropout = last ? 0.0 : spec.dropout,
                               .seed = Dice::seed(),
                               .precision = spec.precision,
                               .storage = spec.storage,
                               .bf16_weights = spec.bf16_weights};
    if (spec.dense_layers.empty() ? spec.dense : spec.dense_layers[l]) {
      layers.push_back(std::make_unique<DenseLinear>(options));
    } else {
      const double cells = double{1} * options.inputs * options.outputs;
      const double density = spec.densities[std::min(l, spec.densities.size() - 1)];
      const Random key{.seed = dice.below(~0ull)};
      layers.push_back(make_sparse_layer(
          options, random_topology(options.outputs, options.inputs, std::llround(density * cells), key)));
    }
    Layer& layer = *layers.back();
    const double degree = static_cast<double>(layer.connections()) / layer.outputs();
    const auto spread = static_cast<float>(1.7 / std::sqrt(std::max(1.0, degree)));
    const bool bf16 = layer.weight().is_bf16();
    for (Parameter* parameter : {&layer.weight(), &layer.bias()}) widen(*parameter);
    for (Parameter* parameter : layer.parameters())
      for (float& value : parameter->value)
        value = dice.value() * (parameter->kind == Parameter::Kind::kWeight ? spread : 0.7f);
    if (bf16)
      for (Parameter* parameter : {&layer.weight(), &layer.bias()}) narrow(*parameter);
  }
  return Network(std::move(layers));
}

/// The numbers of all parameters, one array after another.
inline std::vector<float> all_of(Network& network, AlignedVector<float> Parameter::*array) {
  std::vector<float> numbers;
  for (Parameter* parameter : network.parameters())
    numbers.insert(numbers.end(), (parameter->*array).begin(), (parameter->*array).end());
  return numbers;
}
inline std::vector<float> values_of(Network& network) { return all_of(network, &Parameter::value); }
inline std::vector<float> gradients_of(Network& network) { return all_of(network, &Parameter::gradient); }

inline oracle::Network oracle_of(Network& network) {
  oracle::Network twin;
  bool rounds = false;
  for (std::size_t l = 0; l < network.size(); ++l)
    rounds = rounds || (network.layer(l).options().storage == Storage::kCompact &&
                        network.layer(l).options().precision == Precision::kBf16);
  for (std::size_t l = 0; l < network.size(); ++l) {
    Layer& layer = network.layer(l);
    const LayerOptions& options = layer.options();
    const bool last = l + 1 == network.size();
    oracle::Layer same{.inputs = static_cast<std::size_t>(layer.inputs()),
                       .outputs = static_cast<std::size_t>(layer.outputs()),
                       .activation = {.name = options.activation, .slope = options.alpha},
                       .drop_threshold = static_cast<std::uint32_t>(std::lround(options.dropout * 65536)),
                       .rounds = rounds && !last};
    // The first hidden layer is number 2 and has the slope -alpha, the next +alpha, and so on.
    if (options.activation == "all-relu" && options.index % 2 == 0) same.activation.slope = -options.alpha;
    const auto inputs = static_cast<std::uint64_t>(layer.inputs());
    const Topology full = full_topology(layer.outputs(), layer.inputs());
    for (const std::uint64_t key : (layer.topology() == nullptr ? full : *layer.topology()).keys())
      same.connections.push_back({.target = key / inputs, .source = key % inputs});
    twin.layers.push_back(same);
  }
  for (const float value : values_of(network)) twin.parameters.push_back(value);
  return twin;
}

/// Random inputs, and targets that suit the loss.
inline oracle::Batch make_batch(const std::string& loss, std::int32_t inputs, std::int32_t outputs,
                                std::int32_t samples, Dice& dice) {
  oracle::Batch batch;
  for (std::int32_t b = 0; b < samples; ++b) {
    std::vector<float> x(static_cast<std::size_t>(inputs)), y(static_cast<std::size_t>(outputs));
    for (float& v : x) v = dice.value() * 1.7f;
    if (loss == "mse")
      for (float& v : y) v = dice.value();
    if (loss == "bce")
      for (float& v : y) v = static_cast<float>(dice.below(2));
    batch.inputs.push_back(x);
    if (loss == "cross-entropy")
      batch.classes.push_back(between(dice, 0, outputs - 1));
    else
      batch.values.push_back(y);
  }
  return batch;
}

/// Rows as Panels. Padded lanes hold numbers that no result may depend on.
inline Panels<float> to_panels(const std::vector<std::vector<float>>& rows, std::int32_t width,
                               PanelBuffer& memory) {
  const auto features = static_cast<std::int32_t>(rows.front().size());
  const Panels<float> x = memory.view(features, static_cast<std::int32_t>(rows.size()), width);
  for (std::int32_t b = 0; b < x.count() * width; ++b)
    for (std::int32_t f = 0; f < features; ++f)
      x.at(b, f) = b < x.batch ? rows[static_cast<std::size_t>(b)][static_cast<std::size_t>(f)] : 3.75f;
  return x;
}

inline std::vector<std::vector<float>> to_rows(Panels<const float> x) {
  std::vector<std::vector<float>> rows;
  for (std::int32_t b = 0; b < x.batch; ++b) {
    rows.emplace_back();
    for (std::int32_t f = 0; f < x.features; ++f) rows.back().push_back(x.at(b, f));
  }
  return rows;
}

/// What the engine makes of a batch.
struct Outcome {
  std::vector<std::vector<float>> outputs;
  LossResult loss;
  std::vector<float> gradient;

  bool operator==(const Outcome& other) const {
    return outputs == other.outputs && loss.loss_sum == other.loss.loss_sum && gradient == other.gradient;
  }
};

inline Outcome run_network(Network& network, const oracle::Batch& batch, const oracle::Loss& loss,
                           std::int32_t width) {
  static PanelBuffer memory;  // a network looks at its last inputs until its next batch
  const Panels<float> x = to_panels(batch.inputs, width, memory);
  const Panels<const float> y = network.forward({.training = batch.training,
                                                 .seed = batch.place.seed,
                                                 .step = batch.place.step,
                                                 .worker = batch.place.worker,
                                                 .first_position = batch.place.first_position},
                                                x);
  std::vector<float> values;
  for (const auto& row : batch.values) values.insert(values.end(), row.begin(), row.end());
  Outcome outcome{.outputs = to_rows(y), .loss = {}, .gradient = {}};
  for (const LossInfo& info : losses())
    if (info.name == loss.name)
      outcome.loss = info.compute(y, {.classes = batch.classes, .values = values},
                                  {.label_smoothing = loss.label_smoothing},
                                  batch.training ? network.output_gradient() : Panels<float>{});
  if (!batch.training) return outcome;
  network.backward();
  outcome.gradient = gradients_of(network);
  return outcome;
}

/// Whether outputs, loss and gradients are the oracle's to `relative` of the largest number of their kind:
/// outputs, gradients of one parameter array. Entries that cancel count with their terms. A probability near
/// 1 is known to kEpsilon only, and so is every gradient where it meets its label.
inline ::testing::AssertionResult equals_oracle(Network& network, const Outcome& found,
                                                const oracle::Result& wanted, double relative) {
  double largest = 0;
  for (const auto& row : wanted.outputs)
    for (const double v : row) largest = std::max(largest, std::abs(v));
  for (std::size_t b = 0; b < wanted.outputs.size(); ++b)
    for (std::size_t c = 0; c < wanted.outputs[b].size(); ++c)
      if (!(std::abs(found.outputs[b][c] - wanted.outputs[b][c]) <= relative * largest))
        return ::testing::AssertionFailure() << "output " << c << " of sample " << b << " is "
                                             << found.outputs[b][c] << ", expected " << wanted.outputs[b][c];
  const double loss_scale = std::max(wanted.loss_sum, static_cast<double>(wanted.outputs.size()));
  if (!(std::abs(found.loss.loss_sum - wanted.loss_sum) <= relative * loss_scale))
    return ::testing::AssertionFailure()
           << "loss is " << found.loss.loss_sum << ", expected " << wanted.loss_sum;
  std::size_t first = 0;
  if (found.gradient.empty()) return ::testing::AssertionSuccess();
  for (const Parameter* parameter : network.parameters()) {
    const std::size_t end = first + parameter->value.size();
    double scale = 0;
    for (std::size_t i = first; i < end; ++i) scale = std::max(scale, wanted.magnitude[i]);
    for (std::size_t i = first; i < end; ++i)
      if (!(std::abs(found.gradient[i] - wanted.gradient[i]) <= relative * scale + kEpsilon))
        return ::testing::AssertionFailure()
               << "gradient " << i - first << " of " << parameter->name << " is " << found.gradient[i]
               << ", expected " << wanted.gradient[i];
    first = end;
  }
  return ::testing::AssertionSuccess();
}

/// "gelu-tanh" as a test name.
inline std::string test_name(std::string_view name) {
  std::string text;
  for (const char c : name) text += c == '-' ? '_' : c;
  return text;
}

}  // namespace tulle
