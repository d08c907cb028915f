// sMLPNet written from its formulas alone, in plain loops and any precision: what the engine is compared
// with.
#pragma once

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "tulle/base/random.h"
#include "tulle/nn/network.h"
#include "tulle/vision/smlp_net.h"

namespace tulle::testing {

/// All arrays of a network by the names of the published code; sparse layers as matrices with zeros.
using StateDict = std::map<std::string, std::vector<double>>;

inline StateDict state_dict(Network& network) {
  StateDict all;
  for (const NamedArray& array : network.architecture()->arrays())
    all[array.name] = {array.values->begin(), array.values->end()};
  for (std::size_t l = 0; l < network.size(); ++l) {
    Layer& layer = network.layer(l);
    std::vector<double>& weight = all[layer.weight().name];
    weight.assign(static_cast<std::size_t>(layer.inputs()) * static_cast<std::size_t>(layer.outputs()), 0.0);
    if (layer.topology() == nullptr) {
      weight.assign(layer.weight().value.begin(), layer.weight().value.end());
    } else {
      const std::vector<std::uint64_t> keys = layer.topology()->keys();
      for (std::size_t k = 0; k < keys.size(); ++k) weight[keys[k]] = layer.weight().value[k];
    }
    if (layer.options().has_bias)
      all[layer.bias().name] = {layer.bias().value.begin(), layer.bias().value.end()};
  }
  return all;
}

/// One batch in double precision. Activations are [image][row][column][channel].
class Reference {
  static double& at(std::vector<double>& values, int i) { return values.at(static_cast<std::size_t>(i)); }
  static double at(const std::vector<double>& values, int i) {
    return values.at(static_cast<std::size_t>(i));
  }

 public:
  Reference(const SmlpShape& shape, StateDict dict, bool training)
      : shape_(shape), dict_(std::move(dict)), training_(training) {}

  /// Factors of the branches of block k, branch 0 or 1, of each image; empty: 1.
  std::map<int, std::vector<double>> scales;
  /// After a training pass: the new running statistics.
  const StateDict& dict() const { return dict_; }

  /// images: planes [image][channel][row][column]; logits [image][class].
  std::vector<double> logits(const std::vector<double>& images, int count) {
    images_ = count;
    std::vector<double> x;
    int k = 0;
    for (std::size_t stage = 0; stage < shape_.stages(); ++stage) {
      const int h = shape_.stage_height(stage), w = shape_.stage_width(stage),
                c = shape_.stage_channels(stage);
      const int side = stage == 0 ? shape_.patch : 2;
      const int in = stage == 0 ? shape_.channels : shape_.stage_channels(stage - 1);
      const std::vector<double>& weight = get("to_patch_embedding." + std::to_string(stage) + ".0.weight");
      std::vector<double> next(static_cast<std::size_t>(count * h * w * c));
      for (int b = 0; b < count; ++b)
        for (int y = 0; y < h; ++y)
          for (int z = 0; z < w; ++z)
            for (int o = 0; o < c; ++o) {
              double sum = 0.0;
              for (int i = 0; i < in; ++i)
                for (int r = 0; r < side; ++r)
                  for (int s = 0; s < side; ++s) {
                    const int row = y * side + r, column = z * side + s;
                    const int height = stage == 0 ? shape_.height : shape_.stage_height(stage - 1);
                    const int width = stage == 0 ? shape_.width : shape_.stage_width(stage - 1);
                    const double value = stage == 0
                                             ? at(images, ((b * in + i) * height + row) * width + column)
                                             : at(x, ((b * height + row) * width + column) * in + i);
                    sum += at(weight, ((o * in + i) * side + r) * side + s) * value;
                  }
              at(next, ((b * h + y) * w + z) * c + o) = sum;
            }
      x = std::move(next);
      for (int b = 0; b < shape_.depths[stage]; ++b) x = block(k++, x, h, w, c);
    }
    const int tokens = static_cast<int>(shape_.stage_tokens(shape_.stages() - 1));
    const int c = shape_.stage_channels(shape_.stages() - 1);
    x = batch_norm("batch_norm", x, c);
    std::vector<double> out;
    const std::vector<double>&weight = get("mlp_head.0.weight"), &bias = get("mlp_head.0.bias");
    for (int b = 0; b < count; ++b)
      for (int o = 0; o < shape_.classes; ++o) {
        double sum = at(bias, o);
        for (int i = 0; i < c; ++i) {
          double mean = 0.0;
          for (int t = 0; t < tokens; ++t) mean += at(x, (b * tokens + t) * c + i) / tokens;
          sum += at(weight, o * c + i) * mean;
        }
        out.push_back(sum);
      }
    return out;
  }

 private:
  static double gelu(double z) { return 0.5 * z * (1.0 + std::erf(z / std::sqrt(2.0))); }
  std::vector<double>& get(const std::string& name) { return dict_.at(name); }

  std::vector<double> batch_norm(const std::string& name, std::vector<double> x, int c) {
    const int n = static_cast<int>(x.size()) / c;
    const std::vector<double>&gamma = get(name + ".weight"), &beta = get(name + ".bias");
    for (int i = 0; i < c; ++i) {
      double mean = at(get(name + ".running_mean"), i), variance = at(get(name + ".running_var"), i);
      if (training_) {
        mean = variance = 0.0;
        for (int t = 0; t < n; ++t) mean += at(x, t * c + i) / n;
        for (int t = 0; t < n; ++t) variance += std::pow(at(x, t * c + i) - mean, 2) / n;
        at(get(name + ".running_mean"), i) = 0.9 * at(get(name + ".running_mean"), i) + 0.1 * mean;
        at(get(name + ".running_var"), i) =
            0.9 * at(get(name + ".running_var"), i) + 0.1 * variance * n / (n - 1);
      }
      for (int t = 0; t < n; ++t)
        at(x, t * c + i) =
            (at(x, t * c + i) - mean) / std::sqrt(variance + 1e-5) * at(gamma, i) + at(beta, i);
    }
    return x;
  }

  double scale(int block, int branch, int image) const {
    const auto found = scales.find(2 * block + branch);
    return found == scales.end() ? 1.0 : found->second.at(static_cast<std::size_t>(image));
  }

  std::vector<double> block(int k, const std::vector<double>& x, int h, int w, int c) {
    const std::string token = "token_mix." + std::to_string(k), channel = "channel_mix." + std::to_string(k);
    const auto place = [&](int b, int y, int z, int i) { return ((b * h + y) * w + z) * c + i; };
    std::vector<double> a = batch_norm(token + ".0.conv_merge.BN", x, c);
    for (double& value : a) value = gelu(value);
    std::vector<double> u(a.size());
    const std::vector<double>&taps = get(token + ".0.conv_merge.Conv.weight"),
          &row_weight = get(token + ".1.proj_h.weight"), &row_bias = get(token + ".1.proj_h.bias"),
          &column_weight = get(token + ".1.proh_w.weight"), &column_bias = get(token + ".1.proh_w.bias"),
          &fuse = get(token + ".1.fuse.weight"), &gamma = get(channel + ".1.weight"),
          &beta = get(channel + ".1.bias"), &first = get(channel + ".2.net.0.weight"),
          &first_bias = get(channel + ".2.net.0.bias"), &second = get(channel + ".2.net.3.weight"),
          &second_bias = get(channel + ".2.net.3.bias");
    for (int b = 0; b < images_; ++b)
      for (int y = 0; y < h; ++y)
        for (int z = 0; z < w; ++z)
          for (int i = 0; i < c; ++i) {
            double sum = 0.0;
            for (int r = -1; r <= 1; ++r)
              for (int s = -1; s <= 1; ++s)
                if (y + r >= 0 && y + r < h && z + s >= 0 && z + s < w)
                  sum += at(taps, (i * 3 + r + 1) * 3 + s + 1) * at(a, place(b, y + r, z + s, i));
            at(u, place(b, y, z, i)) = sum;
          }
    u = batch_norm(token + ".1.BN", u, c);
    for (double& value : u) value = gelu(value);
    std::vector<double> next(x.size());
    const int hidden = c * shape_.expansion;
    for (int b = 0; b < images_; ++b)
      for (int y = 0; y < h; ++y)
        for (int z = 0; z < w; ++z) {
          std::vector<double> mixed;
          for (int i = 0; i < c; ++i) mixed.push_back(at(u, place(b, y, z, i)));
          for (int i = 0; i < c; ++i) {
            double sum = at(row_bias, z);
            for (int from = 0; from < w; ++from)
              sum += at(row_weight, z * w + from) * at(u, place(b, y, from, i));
            mixed.push_back(sum);
          }
          for (int i = 0; i < c; ++i) {
            double sum = at(column_bias, y);
            for (int from = 0; from < h; ++from)
              sum += at(column_weight, y * h + from) * at(u, place(b, from, z, i));
            mixed.push_back(sum);
          }
          std::vector<double> row;
          for (int o = 0; o < c; ++o) {
            double sum = 0.0;
            for (int i = 0; i < 3 * c; ++i) sum += at(fuse, o * 3 * c + i) * at(mixed, i);
            row.push_back(at(x, place(b, y, z, o)) + scale(k, 0, b) * sum);
          }
          double mean = 0.0, variance = 0.0;
          for (const double value : row) mean += value / c;
          for (const double value : row) variance += (value - mean) * (value - mean) / c;
          std::vector<double> normed, active;
          for (int i = 0; i < c; ++i)
            normed.push_back((at(row, i) - mean) / std::sqrt(variance + 1e-5) * at(gamma, i) + at(beta, i));
          for (int o = 0; o < hidden; ++o) {
            double sum = at(first_bias, o);
            for (int i = 0; i < c; ++i) sum += at(first, o * c + i) * at(normed, i);
            active.push_back(gelu(sum));
          }
          for (int o = 0; o < c; ++o) {
            double sum = at(second_bias, o);
            for (int i = 0; i < hidden; ++i) sum += at(second, o * hidden + i) * at(active, i);
            at(next, place(b, y, z, o)) = at(row, o) + scale(k, 1, b) * sum;
          }
        }
    return next;
  }

  SmlpShape shape_;
  StateDict dict_;
  bool training_;
  int images_ = 0;
};

/// Norms and biases that hide nothing: random weights, means and variances.
inline void randomize(Network& network, std::uint64_t seed) {
  std::uint32_t part = 0;
  for (const NamedArray& array : network.architecture()->arrays()) {
    const Random random{.seed = seed, .stream = Stream::kData, .layer = part++};
    const bool norm = array.name.find("BN.weight") != std::string::npos ||
                      array.name == "batch_norm.weight" ||
                      array.name.find(".1.weight") != std::string::npos ||
                      array.name.find("running_var") != std::string::npos;
    const bool shift = array.name.find("BN.bias") != std::string::npos || array.name == "batch_norm.bias" ||
                       array.name.find("channel_mix") != std::string::npos ||
                       array.name.find("running_mean") != std::string::npos;
    if (array.name.find("proj_h") != std::string::npos || array.name.find("proh_w") != std::string::npos)
      continue;
    for (std::size_t i = 0; i < array.values->size(); ++i)
      if (norm)
        (*array.values)[i] = 0.5f + random.uniform(i);
      else if (shift)
        (*array.values)[i] = random.uniform(i) - 0.5f;
  }
}

}  // namespace tulle::testing
