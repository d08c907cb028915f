#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <vector>

#include "tulle/base/name_table.h"
#include "tulle/base/wire_format.h"
#include "tulle/checkpoint/atomic_file.h"
#include "tulle/export/formats.h"
#include "tulle/export/onnx_forms.h"
#include "tulle/export/onnx_graph.h"
#include "tulle/export/onnx_smlp.h"
#include "tulle/version.h"
#include "tulle/vision/smlp_net.h"

namespace tulle {

ExportModel export_onnx;

namespace {

// ModelProto of onnx.proto.
namespace model_field {
constexpr int kIrVersion = 1, kProducerName = 2, kProducerVersion = 3, kGraph = 7, kOpsetImport = 8;
constexpr int kMetadata = 14;
constexpr int kOpsetVersion = 2;
constexpr int kKey = 1, kValue = 2;
}  // namespace model_field

constexpr int kIrVersion = 9, kOpset = 18;

// (x - mean) / deviation. A feature that did not vary in training becomes 0: it is divided by infinity.
std::string write_scaling(OnnxGraph& graph, const Scaling& scaling, std::string x) {
  if (scaling.deviation.empty()) return x;
  graph.enter("data");
  const OnnxShape shape{static_cast<std::int64_t>(scaling.deviation.size())};
  if (std::ranges::any_of(scaling.mean, [](float mean) { return mean != 0.0f; }))
    x = graph.node("Sub", {x, graph.constant<float>("mean", shape, scaling.mean)});
  std::vector<float> deviation = scaling.deviation;
  std::ranges::replace(deviation, 0.0f, std::numeric_limits<float>::infinity());
  return graph.node("Div", {x, graph.constant<float>("std", shape, deviation)});
}

struct Output {
  std::string_view name, op;
};

Output output_of(const Model& model, bool probabilities) {
  if (model.loss == "mse") return {"values", "Identity"};
  if (!probabilities) return {"logits", "Identity"};
  return {"probabilities", model.loss == "bce" ? "Sigmoid" : "Softmax"};
}

std::string write_chain(OnnxGraph& graph, Network& network, const std::string& form, std::string x) {
  for (std::size_t l = 0; l < network.size(); ++l) {
    Layer& layer = network.layer(l);
    graph.enter(fmt::format("layers.{}", l));
    x = write_onnx_activation(graph, layer, write_onnx_sums(graph, layer, form, x));
  }
  return x;
}

void write_graph(OnnxGraph& graph, Model& model, const ExportOptions& options) {
  Network& network = model.network;
  graph.input("input", network.inputs());
  const std::string scaled = options.preprocess ? write_scaling(graph, model.scaling, "input") : "input";
  const std::string x = smlp_of(network) != nullptr
                            ? write_onnx_smlp(graph, network, options.onnx_form, scaled)
                            : write_chain(graph, network, options.onnx_form, scaled);
  const Output output = output_of(model, options.probabilities);
  graph.node_to(std::string(output.name), output.op, {x});  // Softmax: over the last axis
  graph.output(output.name, network.outputs());
}

void write_metadata(WireWriter& writer, const std::string& key, const std::string& value) {
  writer.message(model_field::kMetadata, [&](WireWriter& entry) {
    entry.text(model_field::kKey, key);
    entry.text(model_field::kValue, value);
  });
}

// The forms of the sparse layers, "" if there are none.
std::string forms_of(const Network& network, const std::string& wanted) {
  std::set<std::string_view> names;
  for (std::size_t l = 0; l < network.size(); ++l)
    if (const Topology* const topology = network.layer(l).topology(); topology != nullptr)
      names.insert(find_onnx_form(wanted, *topology).name);
  return fmt::format("{}", fmt::join(names, " and "));
}

std::string onnx_model(const std::string& path, Model& model, const ExportOptions& options) {
  WireWriter writer;
  writer.number(model_field::kIrVersion, kIrVersion);
  writer.text(model_field::kProducerName, "tulle");
  writer.text(model_field::kProducerVersion, kVersion);
  writer.message(model_field::kOpsetImport,
                 [](WireWriter& opset) { opset.number(model_field::kOpsetVersion, kOpset); });
  write_metadata(writer, "tulle_version", std::string(kVersion));
  write_metadata(writer, "form", forms_of(model.network, options.onnx_form));
  write_metadata(writer, "loss", model.loss);
  write_metadata(writer, "inputs",
                 options.preprocess ? "raw" : fmt::format("scaled: {}", model.scaling.kind));
  write_metadata(
      writer, "classes",
      nlohmann::json(model.class_names).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  writer.message(model_field::kGraph, [&](WireWriter& message) {
    OnnxGraph graph(message, path);
    write_graph(graph, model, options);
  });
  return writer.take();
}

// Numbers that onnxruntime holds at the most while it runs (measured, docs/exports.md): for each cell of a
// matrix that it expanded, and for each connection and sample of a sparse one (for sparse-init, what ell
// would hold at best).
constexpr double kHeldOfCell = 2.0;
double held_of_connection(const Topology& topology, const std::string& wanted) {
  const std::string_view form = find_onnx_form(wanted, topology).name;
  return form == "coo" ? 5.0 : form == "ell" ? 2.0 * ell_padding(topology) : 2.0;
}

// An image is as many samples to a layer as it has tokens there.
std::int64_t rows_of_sample(const Network& network, std::size_t l) {
  const SmlpNet* const net = smlp_of(network);
  if (net == nullptr) return 1;
  const SmlpShape& shape = net->shape();
  std::size_t stage = 0;
  for (auto blocks = static_cast<int>(l / 3); blocks >= shape.depths[stage]; ++stage)
    blocks -= shape.depths[stage];
  return shape.stage_tokens(stage);
}

// What a user of onnxruntime should know of the forms that were taken.
std::vector<ExportFact> facts_of(const Network& network, const std::string& wanted) {
  const std::string forms = forms_of(network, wanted);
  std::vector<ExportFact> facts{
      {"form", forms, fmt::format("opset {}, sparse layers: {}", kOpset, forms.empty() ? "none" : forms)}};
  const Topology* largest = nullptr;
  std::int64_t rows = 1;  // of a sample, for the largest layer
  std::uint64_t expanded = 0;
  double connections = 0.0, entries = 0.0;  // of layers in form ell, without and with padding
  for (std::size_t l = 0; l < network.size(); ++l) {
    const Topology* const topology = network.layer(l).topology();
    if (topology == nullptr || topology->nnz() == 0) continue;
    if (largest == nullptr || topology->cells() > largest->cells())
      largest = topology, rows = rows_of_sample(network, l);
    const std::string_view form = find_onnx_form(wanted, *topology).name;
    if (form == "sparse-init") expanded += sizeof(float) * topology->cells();
    if (form != "ell") continue;
    connections += static_cast<double>(topology->nnz());
    entries += ell_padding(*topology) * static_cast<double>(topology->nnz());
  }
  if (largest == nullptr) return facts;
  if (entries > 0.0)
    facts.push_back({"pad_factor", entries / connections,
                     fmt::format("rows padded to the longest of their layer: {:.2f} x the connections",
                                 entries / connections)});
  if (expanded > 0)
    facts.push_back(
        {"expanded_bytes", static_cast<std::int64_t>(expanded),
         fmt::format("onnxruntime expands sparse initializers when it loads them, here to {} bytes; "
                     "forms ell and coo stay sparse",
                     expanded)});
  const auto batch = static_cast<std::int64_t>(std::max(
      1.0,
      kHeldOfCell / (largest->density() * held_of_connection(*largest, wanted) * static_cast<double>(rows))));
  facts.push_back(
      {"break_even_batch", batch,
       fmt::format("what ell and coo hold while they run grows with the batch: above about {} samples, "
                   "sparse-init takes less memory",
                   batch)});
  return facts;
}

}  // namespace

Exported export_onnx(const std::string& path, Model& model, const ExportOptions& options) {
  find_name(onnx_forms(), "--onnx-form", options.onnx_form);
  const std::string bytes = onnx_model(path, model, options);
  if (!options.check_only) write_file_atomically(path, bytes);
  return {.bytes = static_cast<std::int64_t>(bytes.size()),
          .facts = facts_of(model.network, options.onnx_form)};
}

}  // namespace tulle
