#include "tulle/export/onnx_forms.h"

#include <algorithm>
#include <vector>

#include "tulle/base/name_table.h"

namespace tulle {
namespace {

constexpr double kMostPadding = 2.0;  // of ell, for auto

std::int64_t longest_row(const Topology& topology) {
  std::size_t longest = 0;
  for (std::int32_t r = 0; r < topology.rows(); ++r) longest = std::max(longest, topology.row(r).size());
  return static_cast<std::int64_t>(longest);
}

std::string bias_of(OnnxGraph& graph, const Layer& layer) {
  return graph.constant<float>("bias", {layer.outputs()}, layer.bias().value);
}

std::string with_bias(OnnxGraph& graph, const Layer& layer, std::string sums) {
  return layer.options().has_bias ? graph.node("Add", {std::move(sums), bias_of(graph, layer)}) : sums;
}

std::string product(OnnxGraph& graph, const Layer& layer, const std::string& x, std::string weight) {
  std::vector<std::string> inputs{x, std::move(weight)};
  if (layer.options().has_bias) inputs.push_back(bias_of(graph, layer));
  return graph.node("Gemm", std::move(inputs), {{"transB", std::int64_t{1}}});
}

std::string write_dense_sums(OnnxGraph& graph, const Layer& layer, const std::string& x) {
  return product(graph, layer, x,
                 graph.constant<float>("weight", {layer.outputs(), layer.inputs()}, layer.weight().value));
}

std::string write_sparse_initializer(OnnxGraph& graph, const Layer& layer, const std::string& x) {
  const Topology& topology = *layer.topology();
  graph.need(topology.nnz(), sizeof(std::int64_t) + sizeof(float));
  std::vector<std::int64_t> places;
  places.reserve(static_cast<std::size_t>(topology.nnz()));
  for (std::int32_t r = 0; r < topology.rows(); ++r)
    for (const std::int32_t column : topology.row(r))
      places.push_back(std::int64_t{r} * topology.cols() + column);
  return product(
      graph, layer, x,
      graph.sparse_constant("weight", topology.rows(), topology.cols(), layer.weight().value, places));
}

// An array of two numbers: the samples in x, and `size`.
std::string shape_of(OnnxGraph& graph, const std::string& x, std::string_view name, std::int64_t size) {
  const std::string samples =
      graph.node("Shape", {x}, {{"start", std::int64_t{0}}, {"end", std::int64_t{1}}});
  return graph.node("Concat", {samples, graph.list(name, {size})}, {{"axis", std::int64_t{0}}});
}

// GatherElements and ScatterElements want their indices once for each sample.
std::string for_all_samples(OnnxGraph& graph, std::string_view name, std::span<const std::int32_t> indices,
                            const std::string& shape) {
  const auto size = static_cast<std::int64_t>(indices.size());
  return graph.node("Expand", {graph.constant(name, {1, size}, indices), shape});
}

// Every row as long as the longest; what is added reads input 0 and weighs nothing. (Gather along the inputs
// would need no expanded indices, but onnxruntime takes several times as long for it as for GatherElements.)
std::string write_ell(OnnxGraph& graph, const Layer& layer, const std::string& x) {
  const Topology& topology = *layer.topology();
  const std::int64_t rows = topology.rows(), length = std::max<std::int64_t>(longest_row(topology), 1);
  const std::int64_t size = rows * length;
  graph.need(size, sizeof(std::int32_t) + sizeof(float));
  std::vector<std::int32_t> columns(static_cast<std::size_t>(size));
  std::vector<float> values(columns.size());
  const float* value = layer.weight().value.data();
  for (std::int32_t r = 0; r < topology.rows(); ++r) {
    const std::span<const std::int32_t> row = topology.row(r);
    std::ranges::copy(row, columns.begin() + r * length);
    std::copy_n(value, row.size(), values.begin() + r * length);
    value += row.size();
  }
  const std::string places = for_all_samples(graph, "columns", columns, shape_of(graph, x, "size", size));
  const std::string sources = graph.node("GatherElements", {x, places}, {{"axis", std::int64_t{1}}});
  const std::string lines =  // 0: as many samples as before
      graph.node("Reshape", {sources, graph.list("shape", {0, rows, length})});
  const std::string terms =
      graph.node("Mul", {lines, graph.constant<float>("weight", {rows, length}, values)});
  const std::string sums =
      graph.node("ReduceSum", {terms, graph.list("axis", {2})}, {{"keepdims", std::int64_t{0}}});
  return with_bias(graph, layer, sums);
}

// A term for each connection, added to the sum of its neuron. (ScatterND would want 64-bit indices, and
// onnxruntime adds its terms on several threads without care for equal targets: sums come out wrong.)
std::string write_coo(OnnxGraph& graph, const Layer& layer, const std::string& x) {
  const Topology& topology = *layer.topology();
  graph.need(topology.nnz(), 2 * sizeof(std::int32_t) + sizeof(float));
  std::vector<std::int32_t> targets;
  targets.reserve(static_cast<std::size_t>(topology.nnz()));
  for (std::int32_t r = 0; r < topology.rows(); ++r) targets.insert(targets.end(), topology.row(r).size(), r);
  const std::string shape = shape_of(graph, x, "size", topology.nnz());
  const std::string places = for_all_samples(graph, "columns", topology.columns(), shape);
  const std::string sources = graph.node("GatherElements", {x, places}, {{"axis", std::int64_t{1}}});
  const std::string terms =
      graph.node("Mul", {sources, graph.constant<float>("weight", {topology.nnz()}, layer.weight().value)});
  const std::string zeros = graph.node("ConstantOfShape", {shape_of(graph, x, "outputs", topology.rows())});
  const std::string sums =
      graph.node("ScatterElements", {zeros, for_all_samples(graph, "targets", targets, shape), terms},
                 {{"axis", std::int64_t{1}}, {"reduction", std::string_view("add")}});
  return with_bias(graph, layer, sums);
}

// To add a form: its function above, one line here.
constexpr OnnxForm kForms[] = {
    {"sparse-init",
     "sparse initializers and Gemm: 12 bytes a connection; runtimes expand them when they load",
     write_sparse_initializer},
    {"ell", "rows of equal length, gathered: 8 bytes a connection and padding; stays sparse", write_ell},
    {"coo", "single connections, scattered: 12 bytes each; stays sparse", write_coo},
    {"auto", "ell where padding at most doubles it, else coo"},
};

}  // namespace

std::span<const OnnxForm> onnx_forms() { return kForms; }

const OnnxForm& find_onnx_form(std::string_view name, const Topology& topology) {
  if (name == "auto") name = ell_padding(topology) <= kMostPadding ? "ell" : "coo";
  return find_name(onnx_forms(), "--onnx-form", name);
}

double ell_padding(const Topology& topology) {
  if (topology.nnz() == 0) return 1.0;
  return static_cast<double>(topology.rows() * longest_row(topology)) / static_cast<double>(topology.nnz());
}

std::string write_onnx_sums(OnnxGraph& graph, const Layer& layer, std::string_view form,
                            const std::string& x) {
  const Topology* const topology = layer.topology();
  if (topology == nullptr) return write_dense_sums(graph, layer, x);
  return find_onnx_form(form, *topology).write(graph, layer, x);
}

}  // namespace tulle
