#include <fmt/format.h>

#include <charconv>
#include <memory>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "exit_codes.h"
#include "tulle/base/name_table.h"
#include "tulle/checkpoint/import.h"
#include "tulle/checkpoint/model_file.h"
#include "tulle/evolve/prune.h"
#include "tulle/nn/activation.h"
#include "tulle/nn/loss.h"
#include "tulle/report/result.h"

namespace tulle::cli {
namespace {

struct ImportCommand {
  std::string file, out, arch, sparsify = "nonzero";
  ImportOptions import;
  bool json = false;
};

// "mlp:784-256-10:relu", the activation and its colon left out or not.
void parse_arch(const std::string& text, ImportOptions& options) {
  const auto refuse = [&] {
    throw Error(ErrorKind::kConfig,
                fmt::format("--arch, found '{}', expected mlp:784-256-10:relu or the like", text));
  };
  if (!text.starts_with("mlp:")) refuse();
  const std::size_t colon = std::min(text.find(':', 4), text.size());
  for (const char *at = text.data() + 4, *end = text.data() + colon; at < end;) {
    std::int32_t size = 0;
    const auto [next, error] = std::from_chars(at, end, size);
    if (error != std::errc{} || size < 1 || (next != end && *next != '-')) refuse();
    options.sizes.push_back(size);
    at = next + 1;
  }
  if (options.sizes.size() < 2) refuse();
  if (colon < text.size()) options.activation = text.substr(colon + 1);
}

int import_model(ImportCommand options) {
  if (!options.arch.empty()) parse_arch(options.arch, options.import);
  find_name(activations(), "--activation", options.import.activation);
  find_name(losses(), "--loss", options.import.loss);
  const PruneForm form = parse_prune_form("--sparsify", options.sparsify);
  Import import = import_safetensors(options.file, options.import);
  Network sparse = pruned(import.model.network, form);
  nlohmann::json rows = nlohmann::json::array();
  for (std::size_t l = 0; l < sparse.size(); ++l) {
    const Layer& layer = sparse.layer(l);
    rows.push_back({{"layer", l},
                    {"tensor", import.layers[l].tensor},
                    {"masked", import.layers[l].masked},
                    {"shape", {layer.outputs(), layer.inputs()}},
                    {"weights", import.model.network.layer(l).connections()},
                    {"zeros", import.layers[l].zeros},
                    {"nnz", layer.connections()},
                    {"stored", layer.topology() == nullptr ? "dense" : "sparse"}});
  }
  import.model.network = std::move(sparse);
  const std::int64_t bytes = save_model(options.out, import.model);
  if (options.json) {
    fmt::print("{}\n", nlohmann::json{{"layers", rows}, {"model", options.out}, {"bytes", bytes}}.dump(
                           2, ' ', false, nlohmann::json::error_handler_t::replace));
    return kOk;
  }
  for (const nlohmann::json& row : rows) {
    const auto weights = row["weights"].get<std::int64_t>(), nnz = row["nnz"].get<std::int64_t>();
    fmt::print("import  layers.{} {} x {} dense {} -> nnz {} ({:.2f} %)   zeros already present: {}   {}{}\n",
               row["layer"].get<int>(), row["shape"][0].get<int>(), row["shape"][1].get<int>(), weights, nnz,
               100.0 * static_cast<double>(nnz) / static_cast<double>(weights),
               row["zeros"].get<std::int64_t>(), escape_control(row["tensor"].get<std::string>()),
               row["masked"].get<bool>() ? " (times its mask)" : "");
  }
  fmt::print("model   {} ({})\n", escape_control(options.out), bytes_text(bytes));
  return kOk;
}

}  // namespace

Command import_command(CLI::App& app) {
  auto options = std::make_shared<ImportCommand>();
  app.add_option("file", options->file, "PyTorch state dict saved as safetensors")->required();
  app.add_option("-o,--output", options->out, "model file to write")->required();
  app.add_option("--arch", options->arch,
                 "mlp:784-256-10:relu, checked against the file; without it the file decides");
  app.add_option("--sparsify", options->sparsify,
                 "magnitude:S, magnitude-layer:S, nonzero (for masked networks) or nm:N:M")
      ->capture_default_str();
  app.add_option("--activation", options->import.activation, "of the hidden layers")->capture_default_str();
  app.add_option("--alpha", options->import.alpha, "slope of all-relu and leaky-relu")->capture_default_str();
  app.add_option("--loss", options->import.loss, "what the outputs mean")->capture_default_str();
  app.add_option("--scale", options->import.scale, "what is done to raw features: none or unit")
      ->capture_default_str();
  app.add_flag("--json", options->json, "one JSON document");
  return [options] { return import_model(*options); };
}

}  // namespace tulle::cli
