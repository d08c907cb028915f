#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <vector>

#include "tulle/base/error.h"
#include "tulle/export/onnx_forms.h"

namespace tulle {
namespace {

using WriteActivation = std::string(OnnxGraph& graph, Layer& layer, const std::string& z);

std::string write_sigmoid(OnnxGraph& graph, Layer&, const std::string& z) {
  return graph.node("Sigmoid", {z});
}

std::string write_tanh(OnnxGraph& graph, Layer&, const std::string& z) { return graph.node("Tanh", {z}); }

// z (1 + s) / 2: both forms of GELU.
std::string half_of_one_plus(OnnxGraph& graph, const std::string& s, const std::string& z) {
  const std::string distribution = graph.node("Add", {s, graph.constant("one", 1.0f)});
  return graph.node("Mul", {graph.node("Mul", {z, distribution}), graph.constant("half", 0.5f)});
}

std::string write_gelu(OnnxGraph& graph, Layer&, const std::string& z) { return write_onnx_gelu(graph, z); }

std::string write_gelu_tanh(OnnxGraph& graph, Layer&, const std::string& z) {
  constexpr double kFactor = std::numbers::inv_sqrtpi * std::numbers::sqrt2;
  const std::string cube = graph.node("Mul", {graph.node("Mul", {z, z}), z});
  const std::string cubic = graph.node("Mul", {cube, graph.constant("cubic", 0.044715f)});
  const std::string inner = graph.node("Add", {z, cubic});
  const std::string scaled =
      graph.node("Mul", {inner, graph.constant("factor", static_cast<float>(kFactor))});
  return half_of_one_plus(graph, graph.node("Tanh", {scaled}), z);
}

// nn/srelu.cpp as z + (a_r - 1) max(z - t_r, 0) + (1 - a_l) max(t_l - z, 0): at most one maximum is not 0.
std::string write_srelu(OnnxGraph& graph, Layer& layer, const std::string& z) {
  std::vector<const Parameter*> trained;
  for (const Parameter* parameter : layer.parameters())
    if (parameter->kind == Parameter::Kind::kActivation) trained.push_back(parameter);
  const auto constant = [&](std::string_view name, const auto& value_of) {
    std::vector<float> values(static_cast<std::size_t>(layer.outputs()));
    for (std::size_t j = 0; j < values.size(); ++j)
      values[j] =
          value_of(trained[0]->value[j], trained[1]->value[j], trained[2]->value[j], trained[3]->value[j]);
    return graph.constant<float>(name, {layer.outputs()}, values);
  };
  const std::string right =
      constant("t_r", [](float t_l, float, float t_hat, float) { return t_l + std::abs(t_hat); });
  const std::string left = constant("t_l", [](float t_l, float, float, float) { return t_l; });
  const std::string right_slope = constant("a_r", [](float, float, float, float a_r) { return a_r - 1.0f; });
  const std::string left_slope = constant("a_l", [](float, float a_l, float, float) { return 1.0f - a_l; });
  const std::string above = graph.node("Relu", {graph.node("Sub", {z, right})});
  const std::string below = graph.node("Relu", {graph.node("Sub", {left, z})});
  const std::string bent = graph.node("Add", {z, graph.node("Mul", {above, right_slope})});
  return graph.node("Add", {bent, graph.node("Mul", {below, left_slope})});
}

struct OnnxActivation {
  std::string_view name;
  WriteActivation* write;
};

// Those that are not piecewise linear. To add one: its function above, one line here.
constexpr OnnxActivation kActivations[] = {
    {"sigmoid", write_sigmoid},     {"tanh", write_tanh},   {"gelu", write_gelu},
    {"gelu-tanh", write_gelu_tanh}, {"srelu", write_srelu},
};

}  // namespace

// The operator Gelu came with opset 20; runtimes know this pattern of it.
std::string write_onnx_gelu(OnnxGraph& graph, const std::string& z) {
  const std::string scaled = graph.node("Div", {z, graph.constant("sqrt2", std::numbers::sqrt2_v<float>)});
  return half_of_one_plus(graph, graph.node("Erf", {scaled}), z);
}

std::string write_onnx_activation(OnnxGraph& graph, Layer& layer, const std::string& z) {
  if (const auto form = layer.activation().piecewise()) {
    if (form->slope == 1.0f) return z;
    if (form->slope == 0.0f) return graph.node("Relu", {z});
    return graph.node("LeakyRelu", {z}, {{"alpha", form->slope}});
  }
  const std::string& name = layer.options().activation;
  const auto known = std::ranges::find(kActivations, name, &OnnxActivation::name);
  if (known == std::end(kActivations))
    throw Error(ErrorKind::kBadData,
                fmt::format("activation, found '{}', expected one that ONNX can express", name));
  return known->write(graph, layer, z);
}

}  // namespace tulle
