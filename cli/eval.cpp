#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "commands.h"
#include "exit_codes.h"
#include "options.h"
#include "precision_flags.h"
#include "tulle/base/parallel.h"
#include "tulle/checkpoint/model_file.h"
#include "tulle/data/load.h"
#include "tulle/train/build.h"
#include "tulle/train/evaluate.h"

namespace tulle::cli {
namespace {

struct EvalOptions {
  std::string model, data, labels;
  bool json = false;
};

int eval(const EvalOptions& options, PrecisionFlags& precision, Config config) {
  set_thread_count(static_cast<int>(config.run.threads));
  LoadedModel loaded = load_model(options.model);
  if (!options.data.empty()) config.data.train = options.data;
  if (!options.labels.empty()) config.data.train_labels = options.labels;
  const Split split = load_labelled_split(data_options(config), facts_of(loaded.model));
  const InferenceChoice choice = precision.choice(loaded.model, config, split.inputs);
  const Evaluation result = evaluate(loaded.model, split, choice);
  std::optional<Evaluation> in_floats;  // what bytes cost is told beside
  if (precision.bytes())
    in_floats = evaluate(loaded.model, split, {.precision = Precision::kFloat, .scales = {}});
  const std::size_t classes = loaded.model.class_names.size();

  nlohmann::json per_class = nlohmann::json::array();
  for (std::size_t c = 0; c < classes && !result.confusion.empty(); ++c) {
    std::int64_t samples = 0, predicted = 0;
    for (std::size_t other = 0; other < classes; ++other) {
      samples += result.confusion[c * classes + other];
      predicted += result.confusion[other * classes + c];
    }
    const std::int64_t right = result.confusion[c * classes + c];
    const auto share = [right](std::int64_t of) {
      return of == 0 ? 0.0 : static_cast<double>(right) / static_cast<double>(of);
    };
    per_class.push_back(nlohmann::json{{"class", loaded.model.class_names[c]},
                                       {"samples", samples},
                                       {"recall", share(samples)},
                                       {"precision", share(predicted)}});
  }
  if (options.json) {
    nlohmann::json out{{"model", options.model}, {"samples", result.samples}, {"loss", result.loss}};
    if (in_floats) out["f32"]["loss"] = in_floats->loss;
    if (classes > 0) {
      if (in_floats) out["f32"]["accuracy"] = in_floats->accuracy;
      out["accuracy"] = result.accuracy;
      if (!result.confusion.empty()) out["classes"] = per_class;
    }
    if (!result.precision_at.empty())
      out["precision_at"] = {
          {"1", result.precision_at[0]}, {"3", result.precision_at[1]}, {"5", result.precision_at[2]}};
    fmt::print("{}\n", out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
    return kOk;
  }
  fmt::print("samples   {}\nloss      {:.6f}\n", result.samples, result.loss);
  if (in_floats && classes == 0)
    fmt::print("f32       loss {:.6f}: int8 costs {:+.6f}\n", in_floats->loss, result.loss - in_floats->loss);
  else if (in_floats)
    fmt::print("f32       loss {:.6f}, accuracy {:.2f} %: int8 costs {:+.6f} and {:+.2f} points\n",
               in_floats->loss, 100.0 * in_floats->accuracy, result.loss - in_floats->loss,
               100.0 * (in_floats->accuracy - result.accuracy));
  if (!result.precision_at.empty())
    fmt::print("precision at 1, 3, 5: {:.2f} %, {:.2f} %, {:.2f} %\n", 100.0 * result.precision_at[0],
               100.0 * result.precision_at[1], 100.0 * result.precision_at[2]);
  if (classes == 0 || !result.precision_at.empty()) return kOk;
  fmt::print("accuracy  {:.2f} %\n", 100.0 * result.accuracy);
  if (result.confusion.empty()) return kOk;  // of too many classes
  fmt::print("\n{:<24} {:>9} {:>9} {:>9}\n", "class", "samples", "recall", "precision");
  for (const auto& row : per_class)
    fmt::print("{:<24} {:>9} {:>7.2f} % {:>7.2f} %\n", escape_control(row["class"].get<std::string>()),
               row["samples"].get<std::int64_t>(), 100.0 * row["recall"].get<double>(),
               100.0 * row["precision"].get<double>());
  return kOk;
}

}  // namespace

Command eval_command(CLI::App& app) {
  auto options = std::make_shared<EvalOptions>();
  app.add_option("model", options->model, "model file or checkpoint")->required();
  app.add_option("--data", options->data, "inputs with labels (--train means the same)");
  app.add_option("--labels", options->labels, "labels, if they are in a file of their own");
  app.add_flag("--json", options->json, "one JSON document instead of the table");
  auto precision = std::make_shared<PrecisionFlags>(app);
  auto flags =
      std::make_shared<ConfigFlags>(app, std::initializer_list<std::string_view>{"data.", "run.threads"});
  return [options, precision, flags] {
    Config config;
    flags->apply(config);
    return eval(*options, *precision, config);
  };
}

}  // namespace tulle::cli
