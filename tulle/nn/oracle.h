#pragma once

// For tests only: a perceptron as plain loops in double precision, one sample and one connection at a time,
// with its loss and all gradients. It shares no arithmetic with the engine; dropout masks come from the
// definition.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tulle/kernels/reference.h"

namespace tulle::oracle {

using Srelu = std::array<double, 4>;  // t_l, a_l, t_hat, a_r; t_r = t_l + |t_hat|

struct Activation {
  std::string name = "identity";
  double slope = 1.0;  // below 0, sign included: leaky-relu and all-relu

  bool is(const char* other) const { return name == other; }
  bool leaky() const { return is("leaky-relu") || is("all-relu"); }

  double value(double z, const Srelu& s) const {
    if (is("identity")) return z;
    if (is("relu")) return z > 0 ? z : 0;
    if (leaky()) return z >= 0 ? z : slope * z;
    if (is("sigmoid")) return 1 / (1 + std::exp(-z));
    if (is("tanh")) return std::tanh(z);
    if (is("gelu")) return z * 0.5 * std::erfc(-z / std::numbers::sqrt2);
    if (is("gelu-tanh")) return 0.5 * z * (1 + std::tanh(gelu_inner(z)));
    if (is("srelu")) {
      const double right = s[0] + std::abs(s[2]);
      return z >= right ? right + s[3] * (z - right) : z <= s[0] ? s[0] + s[1] * (z - s[0]) : z;
    }
    throw std::logic_error("oracle: no definition of activation " + name);
  }

  double derivative(double z, const Srelu& s) const {
    if (is("identity")) return 1;
    if (is("relu")) return z > 0 ? 1 : 0;
    if (leaky()) return z >= 0 ? 1 : slope;
    if (is("sigmoid")) return 1 / ((1 + std::exp(-z)) * (1 + std::exp(z)));
    if (is("tanh")) return 1 / (std::cosh(z) * std::cosh(z));
    if (is("gelu"))
      return 0.5 * std::erfc(-z / std::numbers::sqrt2) +
             z * std::exp(-z * z / 2) / std::sqrt(2 * std::numbers::pi);
    if (is("gelu-tanh")) {
      const double cosh = std::cosh(gelu_inner(z));
      return 0.5 * (1 + std::tanh(gelu_inner(z))) +
             0.5 * z / (cosh * cosh) * std::sqrt(2 / std::numbers::pi) * (1 + 3 * 0.044715 * z * z);
    }
    if (is("srelu")) return z >= s[0] + std::abs(s[2]) ? s[3] : z <= s[0] ? s[1] : 1;
    throw std::logic_error("oracle: no definition of activation " + name);
  }

  /// df/dt_l, df/da_l, df/dt_hat, df/da_r of srelu.
  Srelu by_parameter(double z, const Srelu& s) const {
    const double right = s[0] + std::abs(s[2]), sign = s[2] < 0 ? -1 : 1;
    if (z >= right) return {1 - s[3], 0, sign * (1 - s[3]), z - right};
    if (z <= s[0]) return {1 - s[1], z - s[0], 0, 0};
    return {};
  }

  /// How far z is from where f has no derivative.
  double to_kink(double z, const Srelu& s) const {
    if (is("relu") || leaky()) return std::abs(z);
    if (is("srelu"))
      return std::min({std::abs(z - s[0]), std::abs(z - s[0] - std::abs(s[2])), std::abs(s[2])});
    return std::numeric_limits<double>::infinity();
  }

 private:
  static double gelu_inner(double z) { return std::sqrt(2 / std::numbers::pi) * (z + 0.044715 * z * z * z); }
};

/// The number nearest to v among those of 8 bits, ties to even.
inline double rounded_to_bf16(double v) {
  int exponent = 0;
  const double fraction = std::frexp(v, &exponent);
  return std::ldexp(std::nearbyint(fraction * 256) / 256, exponent);
}

/// How far v is from where it would be rounded to the other side; infinite where both sides are nearer than
/// `small` to each other.
inline double to_tie(double v, double small) {
  int exponent = 0;
  const double fraction = std::frexp(std::abs(v), &exponent) * 256;
  if (std::ldexp(1.0, exponent - 8) < small) return std::numeric_limits<double>::infinity();
  return std::ldexp(std::abs(fraction - std::floor(fraction) - 0.5), exponent - 8);
}

struct Connection {
  std::size_t target, source;
};

struct Layer {
  std::size_t inputs = 0, outputs = 0;
  std::vector<Connection> connections;
  Activation activation;
  std::uint32_t drop_threshold = 0;  // of 65536
  bool rounds = false;               // its outputs to bfloat16; its derivative is that of what was before
};

struct Network {
  std::vector<Layer> layers;
  /// Of each layer: weights in the order of its connections, biases, then t_l, a_l, t_hat, a_r if it is
  /// srelu.
  std::vector<double> parameters;
};

struct Batch {
  std::vector<std::vector<float>> inputs;  // [sample][feature]
  std::vector<std::int32_t> classes;       // either a class per sample
  std::vector<std::vector<float>> values;  // or wanted outputs, [sample][output]
  bool training = false;
  kernels::DropoutPlace place;  // its layer is set to the layer at work

  double wanted(std::size_t b, std::size_t c) const {
    return classes.empty() ? double{values[b][c]} : (static_cast<std::size_t>(classes[b]) == c ? 1.0 : 0.0);
  }
};

struct Loss {
  std::string name;
  double label_smoothing = 0.0;
};

/// One sample's loss.
struct SampleLoss {
  double reported = 0.0;
  double objective = 0.0;        // what `gradient` is the derivative of: the loss, or half the square
  std::vector<double> gradient;  // by the outputs
};

inline SampleLoss sample_loss(const Loss& loss, const std::vector<double>& out, std::vector<double> wanted) {
  const auto classes = static_cast<double>(out.size());
  SampleLoss result{.gradient = std::vector<double>(out.size())};
  const double largest = *std::max_element(out.begin(), out.end());
  double sum = 0;
  for (const double z : out) sum += std::exp(z - largest);
  for (std::size_t c = 0; c < out.size(); ++c) {
    if (loss.name == "cross-entropy") {
      const double y = (1 - loss.label_smoothing) * wanted[c] + loss.label_smoothing / classes;
      result.reported -= y * (out[c] - largest - std::log(sum));
      result.gradient[c] = std::exp(out[c] - largest) / sum - y;
    } else if (loss.name == "bce") {
      result.reported += std::max(out[c], 0.0) - out[c] * wanted[c] + std::log1p(std::exp(-std::abs(out[c])));
      result.gradient[c] = 1 / (1 + std::exp(-out[c])) - wanted[c];
    } else if (loss.name == "mse") {
      result.reported += (out[c] - wanted[c]) * (out[c] - wanted[c]) / classes;
      result.objective += 0.5 * (out[c] - wanted[c]) * (out[c] - wanted[c]);
      result.gradient[c] = out[c] - wanted[c];
    } else {
      throw std::logic_error("oracle: no definition of loss " + loss.name);
    }
  }
  if (loss.name != "mse") result.objective = result.reported;
  return result;
}

struct Result {
  std::vector<std::vector<double>> outputs;  // [sample][output]
  double loss_sum = 0.0;
  double objective = 0.0;         // mean over the batch; `gradient` is its derivative
  std::vector<double> gradient;   // in the order of Network::parameters
  std::vector<double> magnitude;  // of the terms of each gradient, for tolerances
  double to_kink = std::numeric_limits<double>::infinity();  // of the z nearest to one
  double to_tie = std::numeric_limits<double>::infinity();   // of the output nearest to one
};

inline Result evaluate(const Network& net, const Batch& batch, const Loss& loss) {
  const std::size_t depth = net.layers.size();
  const auto samples = static_cast<double>(batch.inputs.size());
  Result result{.gradient = std::vector<double>(net.parameters.size()),
                .magnitude = std::vector<double>(net.parameters.size())};
  const auto add = [&](std::size_t parameter, double term) {
    result.gradient[parameter] += term / samples;
    result.magnitude[parameter] += std::abs(term) / samples;
  };
  std::vector<std::size_t> weights{0}, biases;  // where the parameters of each layer begin
  for (const Layer& layer : net.layers) {
    biases.push_back(weights.back() + layer.connections.size());
    weights.push_back(biases.back() + layer.outputs * (layer.activation.is("srelu") ? 5 : 1));
  }
  const auto srelu = [&](std::size_t l, std::size_t j) {
    Srelu s{};
    if (net.layers[l].activation.is("srelu"))
      for (std::size_t i = 0; i < 4; ++i)
        s[i] = net.parameters[biases[l] + (i + 1) * net.layers[l].outputs + j];
    return s;
  };
  const auto kept = [&](std::size_t l, std::size_t j, std::size_t b) {  // 0, or 1 / (1 - p)
    const std::uint32_t threshold = net.layers[l].drop_threshold;
    if (!batch.training || threshold == 0) return 1.0;
    kernels::DropoutPlace place = batch.place;
    place.layer = static_cast<std::uint32_t>(l);
    const bool keep =
        kernels::reference::keeps(place, threshold, static_cast<std::uint32_t>(j), static_cast<int>(b));
    return keep ? 1 / (1 - threshold / 65536.0) : 0.0;
  };

  for (std::size_t b = 0; b < batch.inputs.size(); ++b) {
    std::vector<std::vector<double>> a{{batch.inputs[b].begin(), batch.inputs[b].end()}}, z;
    for (std::size_t l = 0; l < depth; ++l) {
      const Layer& layer = net.layers[l];
      std::vector<double> sums(layer.outputs), out(layer.outputs);
      for (std::size_t j = 0; j < layer.outputs; ++j) sums[j] = net.parameters[biases[l] + j];
      for (std::size_t k = 0; k < layer.connections.size(); ++k)
        sums[layer.connections[k].target] +=
            net.parameters[weights[l] + k] * a[l][layer.connections[k].source];
      for (std::size_t j = 0; j < layer.outputs; ++j) {
        out[j] = layer.activation.value(sums[j], srelu(l, j)) * kept(l, j, b);
        result.to_kink = std::min(result.to_kink, layer.activation.to_kink(sums[j], srelu(l, j)));
        if (!layer.rounds) continue;
        result.to_tie = std::min(result.to_tie, to_tie(out[j], 1e-6));
        out[j] = rounded_to_bf16(out[j]);
      }
      z.push_back(sums);
      a.push_back(out);
    }
    std::vector<double> wanted;
    for (std::size_t c = 0; c < a[depth].size(); ++c) wanted.push_back(batch.wanted(b, c));
    const SampleLoss head = sample_loss(loss, a[depth], wanted);
    result.outputs.push_back(a[depth]);
    result.loss_sum += head.reported;
    result.objective += head.objective / samples;

    std::vector<double> delta = head.gradient;  // dL/da of layer l, then dL/dz
    for (std::size_t l = depth; l-- > 0;) {
      const Layer& layer = net.layers[l];
      for (std::size_t j = 0; j < layer.outputs; ++j) {
        delta[j] *= kept(l, j, b);
        const Srelu s = srelu(l, j), by = layer.activation.by_parameter(z[l][j], s);
        if (layer.activation.is("srelu"))
          for (std::size_t i = 0; i < 4; ++i) add(biases[l] + (i + 1) * layer.outputs + j, delta[j] * by[i]);
        delta[j] *= layer.activation.derivative(z[l][j], s);
        add(biases[l] + j, delta[j]);
      }
      std::vector<double> below(layer.inputs);
      for (std::size_t k = 0; k < layer.connections.size(); ++k) {
        const auto [target, source] = layer.connections[k];
        add(weights[l] + k, a[l][source] * delta[target]);
        below[source] += net.parameters[weights[l] + k] * delta[target];
      }
      delta = below;
    }
  }
  return result;
}

}  // namespace tulle::oracle
