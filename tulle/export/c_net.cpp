#include "tulle/export/c_net.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "tulle/base/error.h"
#include "tulle/data/loader.h"

namespace tulle {
namespace {

constexpr CChoice<CScale> kScales[] = {{"row", "one for each row: nearer to the weights", CScale::kRow},
                                       {"layer", "one for the layer: 4 bytes a row less", CScale::kLayer}};
constexpr CChoice<CGap> kGaps[] = {{"auto", "whatever takes fewer bytes in each layer", CGap::kAuto},
                                   {"8", "8 bits, larger gaps split by weights of 0", CGap::k8},
                                   {"16", "16 bits", CGap::k16}};

constexpr float kMostDeviations = 32.0f, kMostDeviationsOfBytes = 2.0f;  // of a mean from 0
constexpr float kMostByte = 127.0f;

float slope_of(const Layer& layer, std::size_t l) {
  const auto form = layer.activation().piecewise();
  if (!form)
    throw Error(ErrorKind::kBadData,
                fmt::format("activation of layer {}, found '{}', expected relu, leaky-relu, all-relu or "
                            "identity; others would need libm",
                            l, layer.options().activation));
  return form->slope;
}

bool differ(std::span<const float> factors) {
  const auto is_used = [](float factor) { return factor != 0.0f; };  // 0: a feature that did not vary
  const auto first = std::ranges::find_if(factors, is_used);
  return std::any_of(first, factors.end(), [&](float factor) { return factor != 0.0f && factor != *first; });
}

// The scaling's part that stays with the input; `factor` keeps the part that the weights take.
CNet::Input split_scaling(std::span<const float> mean, std::span<float> factor, const CNetOptions& options) {
  CNet::Input input;
  const float most = options.int8_activations ? kMostDeviationsOfBytes : kMostDeviations;
  for (std::size_t j = 0; j < mean.size(); ++j)
    if (std::abs(mean[j] * factor[j]) > most) {
      input.mean.assign(mean.begin(), mean.end());
      break;
    }
  if (!options.int8 || !differ(factor)) return input;
  std::vector<int> exponents;
  for (const float f : factor) exponents.push_back(f == 0.0f ? 0 : std::clamp(std::ilogb(f), -126, 127));
  std::vector<int> different = exponents;
  std::ranges::sort(different);
  different.erase(std::unique(different.begin(), different.end()), different.end());
  for (const int exponent : different) input.power.push_back(std::ldexp(1.0f, exponent));
  for (std::size_t j = 0; j < factor.size(); ++j) {
    const auto place = std::ranges::lower_bound(different, exponents[j]) - different.begin();
    input.code.push_back(static_cast<std::uint8_t>(place));
    factor[j] = std::ldexp(factor[j], -exponents[j]);
  }
  return input;
}

// The columns of one row and its weights times what the scaling gives them.
struct Row {
  std::vector<std::int32_t> columns;
  std::vector<float> weights;
};

Row row_of(const Layer& layer, std::int32_t r, std::span<const float> factor) {
  Row row;
  const Topology* const topology = layer.topology();
  std::int64_t first = std::int64_t{r} * layer.inputs();
  if (topology != nullptr) {
    first = topology->row_ptr()[static_cast<std::size_t>(r)];
    row.columns.assign(topology->row(r).begin(), topology->row(r).end());
  } else {
    for (std::int32_t c = 0; c < layer.inputs(); ++c) row.columns.push_back(c);
  }
  for (std::size_t k = 0; k < row.columns.size(); ++k) {
    const float weight = layer.weight().value[static_cast<std::size_t>(first) + k];
    row.weights.push_back(factor.empty() ? weight
                                         : weight * factor[static_cast<std::size_t>(row.columns[k])]);
    if (!std::isfinite(row.weights.back()))
      throw Error(ErrorKind::kBadData,
                  fmt::format("{}, found a weight that is not finite, scaling included, expected numbers",
                              layer.weight().name));
  }
  return row;
}

float largest(const Row& row) {
  float most = 0.0f;
  for (const float weight : row.weights) most = std::max(most, std::abs(weight));
  return most;
}

void to_bytes(std::span<float> weights, float scale) {
  for (float& weight : weights)
    weight = scale == 0.0f ? 0.0f : std::clamp(std::round(weight / scale), -kMostByte, kMostByte);
}

// Weights that only fill gaps which `limit` is too small for.
std::int64_t count_fillers(const Topology& topology, std::int32_t limit) {
  std::int64_t fillers = 0;
  for (std::int32_t r = 0; r < topology.rows(); ++r) {
    std::int32_t last = 0;
    for (const std::int32_t column : topology.row(r))
      fillers += std::max((column - std::exchange(last, column) - 1) / limit, 0);
  }
  return fillers;
}

void append_row(const Row& row, std::int32_t limit, CLayer& layer) {
  std::int32_t last = 0;
  for (std::size_t k = 0; k < row.columns.size(); ++k) {
    std::int32_t gap = row.columns[k] - std::exchange(last, row.columns[k]);
    for (; gap > limit; gap -= limit) {
      layer.gap.push_back(static_cast<std::uint16_t>(limit));
      layer.weight.push_back(0.0f);
    }
    layer.gap.push_back(static_cast<std::uint16_t>(gap));
    layer.weight.push_back(row.weights[k]);
  }
  layer.row_ptr.push_back(static_cast<std::uint32_t>(layer.weight.size()));
}

// Chooses the types of indices of a sparse layer, and opens its first row.
void choose_indices(const Topology& topology, const CNetOptions& options, CLayer& layer) {
  const std::int64_t value_bytes = options.int8 ? 1 : 4;
  const std::int64_t narrow = topology.nnz() + count_fillers(topology, 0xff);
  const std::int64_t wide = topology.nnz() + count_fillers(topology, 0xffff);
  const bool in_bytes = options.gap == CGap::kAuto ? narrow * (1 + value_bytes) <= wide * (2 + value_bytes)
                                                   : options.gap == CGap::k8;
  const std::int64_t entries = in_bytes ? narrow : wide;
  if (entries > std::numeric_limits<std::uint32_t>::max())
    throw Error(ErrorKind::kBadData,
                fmt::format("connections of a layer, found {}, expected fewer than 2^32", entries));
  layer.gap_bytes = in_bytes ? 1 : 2;
  layer.row_ptr_bytes = entries < 65536 ? 2 : 4;
  layer.row_ptr.push_back(0);
}

CLayer make_layer(const Layer& layer, std::size_t l, const CNetOptions& options,
                  std::span<const float> factor) {
  CLayer out{.inputs = layer.inputs(),
             .outputs = layer.outputs(),
             .connections = layer.connections(),
             .slope = slope_of(layer, l)};
  out.bias.assign(static_cast<std::size_t>(layer.outputs()), 0.0f);
  std::ranges::copy(layer.bias().value, out.bias.begin());
  const Topology* const topology = layer.topology();
  if (topology != nullptr) choose_indices(*topology, options, out);
  float whole = 0.0f;
  if (options.int8 && options.scale == CScale::kLayer) {
    for (std::int32_t r = 0; r < out.outputs; ++r) whole = std::max(whole, largest(row_of(layer, r, factor)));
    out.scale.push_back(whole / kMostByte);
  }
  for (std::int32_t r = 0; r < out.outputs; ++r) {
    Row row = row_of(layer, r, factor);
    if (options.int8 && options.scale == CScale::kRow) out.scale.push_back(largest(row) / kMostByte);
    if (options.int8) to_bytes(row.weights, out.scale.back());
    if (topology != nullptr)
      append_row(row, out.gap_bytes == 1 ? 0xff : 0xffff, out);
    else
      out.weight.insert(out.weight.end(), row.weights.begin(), row.weights.end());
  }
  return out;
}

float scale_of(const CLayer& layer, std::size_t r) {
  if (layer.scale.empty()) return 1.0f;
  return layer.scale[layer.scale.size() == 1 ? 0 : r];
}

// body(weight, column) for the stored weights of row r, those that fill gaps too.
template <class Body>
void for_row(const CLayer& layer, std::size_t r, const Body& body) {
  if (layer.dense()) {
    const auto inputs = static_cast<std::size_t>(layer.inputs);
    for (std::size_t c = 0; c < inputs; ++c) body(layer.weight[r * inputs + c], c);
    return;
  }
  std::size_t c = 0;
  for (std::size_t e = layer.row_ptr[r]; e < layer.row_ptr[r + 1]; ++e)
    body(layer.weight[e], c += layer.gap[e]);
}

// What the bias becomes when the means go into it: those that are multiplied by the weights as they are
// stored, so that a feature at its mean still adds nothing.
void take_means(std::span<const float> mean, const CNet::Input& input, CLayer& layer) {
  for (std::size_t r = 0; r < layer.bias.size(); ++r) {
    double shift = 0.0;
    for_row(layer, r, [&](float weight, std::size_t c) {
      const double power = input.code.empty() ? 1.0 : input.power[input.code[c]];
      shift += double{weight} * power * mean[c];
    });
    layer.bias[r] = static_cast<float>(layer.bias[r] - shift * scale_of(layer, r));
  }
}

std::vector<float> transformed(const CNet::Input& input, std::span<const float> x) {
  std::vector<float> out(x.begin(), x.end());
  for (std::size_t j = 0; j < out.size(); ++j) {
    if (!input.mean.empty()) out[j] -= input.mean[j];
    if (!input.code.empty()) out[j] *= input.power[input.code[j]];
  }
  return out;
}

}  // namespace

std::span<const CChoice<CScale>> c_scales() { return kScales; }
std::span<const CChoice<CGap>> c_gaps() { return kGaps; }

CNet::CNet(const Network& network, const Scaling& scaling, const CNetOptions& wanted) : options(wanted) {
  if (network.architecture() != nullptr)
    throw Error(ErrorKind::kBadData, "--c-header, found an image model, expected a perceptron");
  const std::vector<float> mean = scaling_means(scaling, network.inputs());
  std::vector<float> factor = scaling_factors(scaling, network.inputs());
  input = split_scaling(mean, factor, options);
  for (std::size_t l = 0; l < network.size(); ++l) {
    layers.push_back(make_layer(network.layer(l), l, options, l == 0 ? factor : std::span<float>{}));
    if (l + 1 == network.size()) break;
    std::int64_t& part = l % 2 == 0 ? even_ : odd_;
    part = std::max<std::int64_t>(part, layers.back().outputs);
  }
  if (input.mean.empty()) take_means(mean, input, layers.front());
  for (std::size_t l = 0; l < network.size(); ++l)
    for (const float bias : layers[l].bias)
      if (!std::isfinite(bias))
        throw Error(ErrorKind::kBadData,
                    fmt::format("{}, found a number that is not finite, scaling included, expected numbers",
                                network.layer(l).bias().name));
}

std::int64_t CNet::constant_bytes() const {
  const auto count = [](const auto& values) { return static_cast<std::int64_t>(values.size()); };
  std::int64_t bytes = 4 * count(input.mean) + count(input.code) + 4 * count(input.power);
  for (const CLayer& layer : layers) {
    const std::int64_t entries = std::max<std::int64_t>(count(layer.weight), 1);  // C has no empty arrays
    bytes += entries * (options.int8 ? 1 : 4) + 4 * (count(layer.scale) + count(layer.bias));
    if (!layer.dense()) bytes += entries * layer.gap_bytes + count(layer.row_ptr) * layer.row_ptr_bytes;
  }
  return bytes;
}

std::int64_t CNet::dense_bytes() const {
  std::int64_t bytes = 0;
  for (const CLayer& layer : layers) bytes += std::int64_t{4} * layer.inputs * layer.outputs;
  return bytes;
}

std::uint8_t CBytes::of(float x) const {
  const float place = x * per_step + offset;
  return place >= 255.0f ? 255 : place > 0.0f ? static_cast<std::uint8_t>(place) : 0;
}

void CNet::take_bytes(std::span<const kernels::ByteScale> scales) {
  for (std::size_t l = 0; l < layers.size(); ++l) {
    CLayer& layer = layers[l];
    const kernels::ByteScale& bytes = scales[l];
    layer.bytes = {.per_step = 1.0f / bytes.scale, .offset = static_cast<float>(bytes.zero) + 0.5f};
    for (std::size_t r = 0; r < layer.bias.size(); ++r) {
      std::int64_t sum = 0, most = 0;
      for_row(layer, r, [&](float weight, std::size_t) {
        sum += static_cast<std::int64_t>(weight);
        most += 255 * std::abs(static_cast<std::int64_t>(weight));
      });
      if (most > std::numeric_limits<std::int32_t>::max())
        throw Error(
            ErrorKind::kBadData,
            fmt::format("--int8-activations, found a sum of layer {} that may be {}, expected what 32 "
                        "bits hold",
                        l, most));
      const double zero = double{bytes.scale} * bytes.zero * scale_of(layer, r);
      layer.bias[r] = static_cast<float>(layer.bias[r] - zero * static_cast<double>(sum));
    }
    for (float& scale : layer.scale) scale *= bytes.scale;
  }
}

namespace {

// The sum of row r of weight * x: in the order in which C adds up floats, or of whole numbers.
float sum_of(const CLayer& layer, std::size_t r, std::span<const float> x) {
  if (layer.bytes) {
    std::int32_t sum = 0;
    for_row(layer, r, [&](float weight, std::size_t c) {
      sum += static_cast<std::int32_t>(weight) * static_cast<std::int32_t>(x[c]);
    });
    return static_cast<float>(sum);
  }
  float sum = 0.0f;
  for_row(layer, r, [&](float weight, std::size_t c) { sum += weight * x[c]; });
  return sum;
}

// What becomes of numbers in bytes, and how far off that may be if they are as far off as `bound` says.
void narrow(const CBytes& bytes, double rounding, CNet::Exact& x) {
  const auto byte = [](double place) { return std::floor(std::clamp(place, 0.0, 255.0)); };
  for (std::size_t i = 0; i < x.output.size(); ++i) {
    const double product = x.output[i] * bytes.per_step, place = product + bytes.offset;
    const double off = x.bound[i] * bytes.per_step + rounding * (std::abs(product) + std::abs(place));
    x.output[i] = byte(place);
    x.bound[i] = byte(place + off) - byte(place - off);
  }
}

}  // namespace

std::vector<float> CNet::run(std::span<const float> x, const See& see) const {
  std::vector<float> in = transformed(input, x), out;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const CLayer& layer = layers[l];
    if (see) see(l, in);
    if (layer.bytes)
      for (float& value : in) value = layer.bytes->of(value);
    out.resize(layer.bias.size());
    for (std::size_t r = 0; r < out.size(); ++r) {
      const float sum = sum_of(layer, r, in) * scale_of(layer, r) + layer.bias[r];
      out[r] = sum < 0.0f ? sum * layer.slope : sum;
    }
    std::swap(in, out);
  }
  return in;
}

CNet::Exact CNet::run_exactly(std::span<const float> x) const {
  constexpr double kRounding = 0x1p-24;
  Exact in;
  for (std::size_t j = 0; j < x.size(); ++j) {
    const double centred = double{x[j]} - (input.mean.empty() ? 0.0f : input.mean[j]);
    in.output.push_back(centred * (input.code.empty() ? 1.0 : input.power[input.code[j]]));
    in.bound.push_back(kRounding * std::abs(in.output[j]));
  }
  for (const CLayer& layer : layers) {
    Exact out;
    if (layer.bytes) narrow(*layer.bytes, kRounding, in);
    for (std::size_t r = 0; r < layer.bias.size(); ++r) {
      double sum = 0.0, size = 0.0, carried = 0.0;
      int terms = 0;
      for_row(layer, r, [&](float weight, std::size_t c) {
        sum += weight * in.output[c];
        size += std::abs(weight * in.output[c]);
        carried += std::abs(weight) * in.bound[c];
        ++terms;
      });
      const double scale = scale_of(layer, r), bias = layer.bias[r];
      const double steepest = std::max(1.0f, std::abs(layer.slope));
      const double z = sum * scale + bias;
      out.output.push_back(z < 0.0 ? z * layer.slope : z);
      // One rounding for each product and sum, unless they are whole numbers, then those of scale, bias and
      // slope.
      const int roundings = layer.bytes ? 4 : terms + 4;
      out.bound.push_back(
          steepest * (scale * (carried + kRounding * roundings * size) + 3.0 * kRounding * std::abs(bias)));
    }
    in = std::move(out);
  }
  return in;
}

}  // namespace tulle
