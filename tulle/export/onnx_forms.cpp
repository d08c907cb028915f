#include "tulle/export/onnx_forms.h"

#include <algorithm>
#include <vector>

#include "tulle/base/name_table.h"

namespace tulle {
namespace {

constexpr double kMostPadding = 2.0;  // above it, ell is as large as coo

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

// The number of samples in x, an array of one number.
std::string batch_of(OnnxGraph& graph, const std::string& x) {
  return graph.node("Shape", {x}, {{"start", std::int64_t{0}}, {"end", std::int64_t{1}}});
}

// Every row as long as the longest; what is added reads input 0 and weighs nothing. GatherElements wants the
// columns once for each sample; onnxruntime takes a quarter of the time for that which it needs for Gather
// along the inputs.
std::string write_ell(OnnxGraph& graph, const Layer& layer, const std::string& x) {
  const Topology& topology = *layer.topology();
  const std::int64_t rows = topology.rows(), length = std::max<std::int64_t>(longest_row(topology), 1);
  const std::int64_t size = rows * length, axis = 2;
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
  const std::int64_t terms_shape[] = {0, rows, length};  // 0: as it was
  const std::string size_of_all =
      graph.node("Concat", {batch_of(graph, x), graph.constant<std::int64_t>("size", {1}, {&size, 1})},
                 {{"axis", std::int64_t{0}}});
  const std::string places =
      graph.node("Expand", {graph.constant<std::int32_t>("columns", {1, size}, columns), size_of_all});
  const std::string sources = graph.node("GatherElements", {x, places}, {{"axis", std::int64_t{1}}});
  const std::string by_row =
      graph.node("Reshape", {sources, graph.constant<std::int64_t>("shape", {3}, terms_shape)});
  const std::string terms =
      graph.node("Mul", {by_row, graph.constant<float>("weight", {rows, length}, values)});
  const std::string sums =
      graph.node("ReduceSum", {terms, graph.constant<std::int64_t>("axis", {1}, {&axis, 1})},
                 {{"keepdims", std::int64_t{0}}});
  return with_bias(graph, layer, sums);
}

// One row of terms for each connection, added up where its neuron is. Indices of ScatterND must have 64 bits.
std::string write_coo(OnnxGraph& graph, const Layer& layer, const std::string& x) {
  const Topology& topology = *layer.topology();
  graph.need(topology.nnz(), sizeof(std::int64_t) + sizeof(std::int32_t) + sizeof(float));
  std::vector<std::int64_t> targets;
  targets.reserve(static_cast<std::size_t>(topology.nnz()));
  for (std::int32_t r = 0; r < topology.rows(); ++r) targets.insert(targets.end(), topology.row(r).size(), r);
  const std::int64_t rows = topology.rows();
  const std::string shape =
      graph.node("Concat", {graph.constant<std::int64_t>("outputs", {1}, {&rows, 1}), batch_of(graph, x)},
                 {{"axis", std::int64_t{0}}});
  const std::string sources =
      graph.node("Gather",
                 {graph.node("Transpose", {x}),
                  graph.constant<std::int32_t>("columns", {topology.nnz()}, topology.columns())},
                 {{"axis", std::int64_t{0}}});
  const std::string terms = graph.node(
      "Mul", {sources, graph.constant<float>("weight", {topology.nnz(), 1}, layer.weight().value)});
  const std::string sums =
      graph.node("ScatterND",
                 {graph.node("ConstantOfShape", {shape}),
                  graph.constant<std::int64_t>("targets", {topology.nnz(), 1}, targets), terms},
                 {{"reduction", std::string_view("add")}});
  return with_bias(graph, layer, graph.node("Transpose", {sums}));
}

// To add a form: its function above, one line here.
constexpr OnnxForm kForms[] = {
    {"sparse-init",
     "sparse initializers and Gemm: 12 bytes a connection; runtimes expand them when they load",
     write_sparse_initializer},
    {"ell", "rows of equal length, gathered: 8 bytes a connection and padding; stays sparse", write_ell},
    {"coo", "single connections, scattered: 16 bytes each; stays sparse", write_coo},
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

std::string write_dense_sums(OnnxGraph& graph, const Layer& layer, const std::string& x) {
  return product(graph, layer, x,
                 graph.constant<float>("weight", {layer.outputs(), layer.inputs()}, layer.weight().value));
}

}  // namespace tulle
