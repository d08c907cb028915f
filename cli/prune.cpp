#include <fmt/format.h>

#include <charconv>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "commands.h"
#include "exit_codes.h"
#include "options.h"
#include "tulle/base/name_table.h"
#include "tulle/base/parallel.h"
#include "tulle/checkpoint/model_file.h"
#include "tulle/evolve/importance.h"
#include "tulle/evolve/prune.h"
#include "tulle/report/result.h"
#include "tulle/train/build.h"
#include "tulle/train/evaluate.h"

namespace tulle::cli {
namespace {

struct PruneOptions {
  std::string model, out, neurons, connections, data, labels;
  bool json = false;
};

// "importance:0.2"
double importance_share(const std::string& text) {
  constexpr std::string_view kPrefix = "importance:";
  double share = 0.0;
  const std::string_view number = std::string_view(text).substr(std::min(kPrefix.size(), text.size()));
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), share);
  if (!text.starts_with(kPrefix) || error != std::errc{} || end != number.data() + number.size() ||
      !(share >= 0.0 && share < 1.0))
    throw Error(ErrorKind::kConfig,
                fmt::format("--neurons, found '{}', expected importance:S with S from 0 up to 1", text));
  return share;
}

nlohmann::json sizes_of(const Network& network) {
  nlohmann::json sizes{network.inputs()};
  for (std::size_t l = 0; l < network.size(); ++l) sizes.push_back(network.layer(l).outputs());
  return sizes;
}

nlohmann::json state_of(Model& model, const std::optional<Split>& data) {
  nlohmann::json state{{"sizes", sizes_of(model.network)}, {"connections", model.network.connections()}};
  if (!data) return state;
  const Evaluation result = evaluate(model, *data);
  state["loss"] = result.loss;
  if (!model.class_names.empty()) state["accuracy"] = result.accuracy;
  return state;
}

void print_state(const char* name, const nlohmann::json& state) {
  fmt::print("{:<7} {}   {} connections", name, state["sizes"].dump(),
             state["connections"].get<std::int64_t>());
  if (state.contains("loss")) fmt::print("   loss {:.6f}", state["loss"].get<double>());
  if (state.contains("accuracy")) fmt::print("   accuracy {:.2f} %", 100.0 * state["accuracy"].get<double>());
  fmt::print("\n");
}

int prune(const PruneOptions& options, Config config) {
  set_thread_count(static_cast<int>(config.run.threads));
  if (options.neurons.empty() && options.connections.empty())
    throw Error(ErrorKind::kConfig, "prune, found neither --neurons nor --connections, expected one");
  LoadedModel loaded = load_model(options.model);
  Model& model = loaded.model;
  std::optional<Split> data;
  if (!options.data.empty()) {
    config.data.train = options.data;
    config.data.train_labels = options.labels;
    data = load_labelled_split(data_options(config), facts_of(model));
  }
  const nlohmann::json before = state_of(model, data);
  if (!options.connections.empty())
    model.network = pruned(model.network, parse_prune_form("--connections", options.connections));
  if (!options.neurons.empty())
    eliminate_neurons(model.network, {.percentile = 100.0 * importance_share(options.neurons),
                                      .strength = &find_name(strengths(), "evolve.importance_strength",
                                                             config.evolve.importance_strength),
                                      .min_neurons = config.evolve.min_neurons,
                                      .cascade = config.evolve.cascade});
  const std::int64_t bytes = save_model(options.out, model);
  const nlohmann::json after = state_of(model, data);
  if (options.json) {
    fmt::print(
        "{}\n",
        nlohmann::json{{"before", before}, {"after", after}, {"model", options.out}, {"bytes", bytes}}.dump(
            2));
    return kOk;
  }
  print_state("before", before);
  print_state("after", after);
  fmt::print("model   {} ({})\n", escape_control(options.out), bytes_text(bytes));
  return kOk;
}

}  // namespace

Command prune_command(CLI::App& app) {
  auto options = std::make_shared<PruneOptions>();
  app.add_option("model", options->model, "model file or checkpoint")->required();
  app.add_option("-o,--output", options->out, "model file to write")->required();
  app.add_option("--neurons", options->neurons,
                 "importance:S, the share S of each hidden layer's neurons goes, the weakest first");
  app.add_option("--connections", options->connections, "magnitude:S, magnitude-layer:S, nonzero or nm:N:M");
  app.add_option("--data", options->data, "inputs with labels, to tell what it costs");
  app.add_option("--labels", options->labels, "labels, if they are in a file of their own");
  app.add_flag("--json", options->json, "one JSON document");
  auto flags = std::make_shared<ConfigFlags>(
      app, std::initializer_list<std::string_view>{"data.", "run.threads", "evolve.importance_strength",
                                                   "evolve.min_neurons", "evolve.cascade"});
  return [options, flags] {
    Config config;
    flags->apply(config);
    return prune(*options, config);
  };
}

}  // namespace tulle::cli
