#include "tulle/checkpoint/import.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "tulle/base/error.h"
#include "tulle/base/half.h"
#include "tulle/checkpoint/import_smlp.h"
#include "tulle/checkpoint/safetensors.h"
#include "tulle/nn/dense_linear.h"

namespace tulle {
namespace {

constexpr std::string_view kWeight = ".weight", kOriginal = ".weight_orig", kMask = ".weight_mask";

[[noreturn]] void refuse(const SafetensorsFile& file, std::string_view what, std::string_view found,
                         std::string_view expected) {
  throw Error(ErrorKind::kBadData, {.file = file.name()},
              fmt::format("{}, found {}, expected {}", what, found, expected));
}

// "layer2.weight" before "layer10.weight": digits compare as numbers.
bool naturally_before(std::string_view a, std::string_view b) {
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  while (!a.empty() && !b.empty()) {
    if (digit(a[0]) && digit(b[0])) {
      const auto length = [&](std::string_view text) {
        return static_cast<std::size_t>(std::ranges::find_if_not(text, digit) - text.begin());
      };
      a.remove_prefix(std::min(a.substr(0, length(a)).find_first_not_of('0'), length(a)));
      b.remove_prefix(std::min(b.substr(0, length(b)).find_first_not_of('0'), length(b)));
      const std::size_t la = length(a), lb = length(b);
      if (la != lb) return la < lb;
      if (const int order = a.substr(0, la).compare(b.substr(0, lb)); order != 0) return order < 0;
      a.remove_prefix(la);
      b.remove_prefix(lb);
      continue;
    }
    if (a[0] != b[0]) return a[0] < b[0];
    a.remove_prefix(1);
    b.remove_prefix(1);
  }
  return a.size() < b.size();
}

}  // namespace

std::vector<float> floats_of(const SafetensorsFile& file, const TensorView& tensor) {
  std::vector<float> values;
  switch (tensor.dtype) {
    case DType::F32:
      return file.copy<float>(tensor.name);
    case DType::F64:
      for (const double v : file.copy<double>(tensor.name)) values.push_back(static_cast<float>(v));
      return values;
    case DType::F16:
      for (const std::uint16_t v : file.copy<std::uint16_t>(tensor.name)) values.push_back(half_to_float(v));
      return values;
    case DType::BF16:
      for (const std::uint16_t v : file.copy<std::uint16_t>(tensor.name)) values.push_back(bf16_to_float(v));
      return values;
    default:
      refuse(file, fmt::format("tensor '{}'", tensor.name), fmt::format("type {}", dtype_name(tensor.dtype)),
             "F16, BF16, F32 or F64");
  }
}

namespace {

struct Weights {
  std::string name;  // of the layer, without ".weight"
  std::int64_t outputs = 0, inputs = 0;
  std::vector<float> values;
  bool masked = false;
};

std::optional<Weights> weights_of(const SafetensorsFile& file, const TensorView& tensor) {
  if (tensor.shape.size() != 2) return std::nullopt;
  Weights weights{.outputs = tensor.shape[0], .inputs = tensor.shape[1], .values = {}};
  if (tensor.name.ends_with(kWeight)) {
    weights.name = tensor.name.substr(0, tensor.name.size() - kWeight.size());
    weights.values = floats_of(file, tensor);
    return weights;
  }
  if (!tensor.name.ends_with(kOriginal)) return std::nullopt;
  weights.name = tensor.name.substr(0, tensor.name.size() - kOriginal.size());
  weights.masked = true;
  const std::string mask_name = weights.name + std::string(kMask);
  const TensorView* const mask = file.find(mask_name);
  if (mask == nullptr || mask->shape != tensor.shape)
    refuse(file, fmt::format("tensor '{}'", mask_name), mask == nullptr ? "none" : "another shape",
           fmt::format("one of the shape of '{}'", tensor.name));
  weights.values = floats_of(file, tensor);
  const std::vector<float> factors = floats_of(file, *mask);
  for (std::size_t k = 0; k < factors.size(); ++k) weights.values[k] *= factors[k];
  return weights;
}

void set_bias(const SafetensorsFile& file, const std::string& name, Layer& layer) {
  const TensorView* const bias = file.find(name + ".bias");
  if (bias == nullptr) return;
  if (bias->shape != std::vector<std::int64_t>{layer.outputs()})
    refuse(file, fmt::format("tensor '{}.bias'", name),
           fmt::format("shape [{}]", fmt::join(bias->shape, ", ")), fmt::format("[{}]", layer.outputs()));
  const std::vector<float> values = floats_of(file, *bias);
  std::ranges::copy(values, layer.bias().value.begin());
}

void check_sizes(const SafetensorsFile& file, const std::vector<Weights>& layers,
                 const std::vector<std::int32_t>& wanted) {
  std::vector<std::int64_t> found{layers.front().inputs};
  for (const Weights& layer : layers) {
    if (layer.inputs != found.back())
      refuse(file, fmt::format("inputs of '{}'", layer.name), fmt::format("{}", layer.inputs),
             fmt::format("{}, the outputs of the layer before it in the order of the names", found.back()));
    if (layer.outputs < 1 || layer.inputs < 1 || layer.outputs > 2147483646 || layer.inputs > 2147483646)
      refuse(file, fmt::format("shape of '{}'", layer.name),
             fmt::format("{} x {}", layer.outputs, layer.inputs), "1 to 2147483646");
    found.push_back(layer.outputs);
  }
  if (!wanted.empty() && !std::ranges::equal(found, wanted))
    refuse(file, "layer sizes", fmt::format("{}", fmt::join(found, "-")),
           fmt::format("{}", fmt::join(wanted, "-")));
}

Import import_perceptron(const SafetensorsFile& file, const ImportOptions& options) {
  std::vector<Weights> weights;
  for (const TensorView& tensor : file.tensors())
    if (std::optional<Weights> found = weights_of(file, tensor)) weights.push_back(std::move(*found));
  if (weights.empty())
    refuse(file, "tensors", "no NAME.weight of two dimensions", "one for each linear layer");
  std::ranges::sort(weights, naturally_before, &Weights::name);
  check_sizes(file, weights, options.sizes);

  Import import;
  std::vector<std::unique_ptr<Layer>> layers;
  for (const Weights& layer : weights) {
    const bool last = layers.size() + 1 == weights.size();
    layers.push_back(
        std::make_unique<DenseLinear>(LayerOptions{.index = static_cast<std::int32_t>(layers.size()),
                                                   .inputs = static_cast<std::int32_t>(layer.inputs),
                                                   .outputs = static_cast<std::int32_t>(layer.outputs),
                                                   .activation = last ? "identity" : options.activation,
                                                   .alpha = options.alpha}));
    std::ranges::copy(layer.values, layers.back()->weight().value.begin());
    set_bias(file, layer.name, *layers.back());
    import.layers.push_back({layer.name, std::ranges::count(layer.values, 0.0f), layer.masked});
  }
  import.model.network = Network(std::move(layers));
  return import;
}

// What the outputs mean, and what is done to inputs.
void finish(const ImportOptions& options, Model& model) {
  model.loss = options.loss;
  if (options.loss != "mse")
    for (std::int32_t c = 0; c < model.network.outputs(); ++c)
      model.class_names.push_back(fmt::format("{}", c));
  if (options.scale != "none" && options.scale != "unit")
    throw Error(ErrorKind::kConfig, fmt::format("scale, found '{}', expected none or unit", options.scale));
  model.scaling.kind = options.scale;
  if (options.scale == "unit") {
    model.scaling.mean.assign(static_cast<std::size_t>(model.network.inputs()), 0.0f);
    model.scaling.deviation.assign(static_cast<std::size_t>(model.network.inputs()), 255.0f);
  }
}

}  // namespace

Import import_safetensors(const std::string& path, const ImportOptions& options) {
  const SafetensorsFile file = SafetensorsFile::read(path);
  Import import;
  if (is_smlp(file))
    import = import_smlp(file);
  else
    import = import_perceptron(file, options);
  finish(options, import.model);
  return import;
}

}  // namespace tulle
