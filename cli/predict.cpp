#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "commands.h"
#include "exit_codes.h"
#include "options.h"
#include "precision_flags.h"
#include "tulle/base/parallel.h"
#include "tulle/checkpoint/atomic_file.h"
#include "tulle/checkpoint/model_file.h"
#include "tulle/data/load.h"
#include "tulle/train/build.h"
#include "tulle/train/evaluate.h"

namespace tulle::cli {
namespace {

struct PredictOptions {
  std::string model, data, output = "-", format = "csv";
};

std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? "\"\"" : std::string(1, c);
  return out + '"';
}

// One line per sample: the predicted class and all outputs.
std::string as_csv(const Model& model, std::span<const float> outputs) {
  const auto width = static_cast<std::size_t>(model.network.outputs());
  std::string text = "prediction";
  for (std::size_t c = 0; c < model.class_names.size(); ++c)
    text += "," + quoted("p(" + model.class_names[c] + ")");
  text += '\n';
  for (std::size_t row = 0; row + width <= outputs.size(); row += width) {
    const auto values = outputs.subspan(row, width);
    if (model.class_names.empty()) {
      text += fmt::format("{}\n", values[0]);
      continue;
    }
    const auto best =
        static_cast<std::size_t>(std::max_element(values.begin(), values.end()) - values.begin());
    text += quoted(model.class_names[best]);
    for (const float value : values) text += fmt::format(",{:.6g}", value);
    text += '\n';
  }
  return text;
}

std::string as_jsonl(const Model& model, std::span<const float> outputs) {
  const auto width = static_cast<std::size_t>(model.network.outputs());
  std::string text;
  for (std::size_t row = 0; row + width <= outputs.size(); row += width) {
    const auto values = outputs.subspan(row, width);
    nlohmann::json line{{"row", row / width}};
    if (model.class_names.empty()) {
      line["prediction"] = values[0];
    } else {
      const auto best =
          static_cast<std::size_t>(std::max_element(values.begin(), values.end()) - values.begin());
      line["prediction"] = model.class_names[best];
      line["outputs"] = std::vector<float>(values.begin(), values.end());
    }
    text += line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  }
  return text;
}

int predict_rows(const PredictOptions& options, PrecisionFlags& precision, Config config) {
  set_thread_count(static_cast<int>(config.run.threads));
  LoadedModel loaded = load_model(options.model);
  if (!options.data.empty()) config.data.train = options.data;
  if (!config.given.contains("data.label_column")) config.data.label_column = "none";
  Features inputs = load_inputs(data_options(config), facts_of(loaded.model));
  const InferenceChoice choice = precision.choice(loaded.model, config, inputs);
  const std::vector<float> outputs = predict(loaded.model, std::move(inputs), choice);
  const std::string text =
      options.format == "csv" ? as_csv(loaded.model, outputs) : as_jsonl(loaded.model, outputs);
  if (options.output == "-") {
    if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size())
      throw system_error(errno, "standard output", "write");
  } else {
    write_file_atomically(options.output, text);
  }
  return kOk;
}

}  // namespace

Command predict_command(CLI::App& app) {
  auto options = std::make_shared<PredictOptions>();
  app.add_option("model", options->model, "model file or checkpoint")->required();
  app.add_option("--data", options->data, "inputs; - reads standard input");
  app.add_option("-o,--output", options->output, "where to write; - is standard output")
      ->capture_default_str();
  app.add_option("--as", options->format, "csv or jsonl")
      ->check(CLI::IsMember({"csv", "jsonl"}))
      ->capture_default_str();
  auto precision = std::make_shared<PrecisionFlags>(app);
  auto flags =
      std::make_shared<ConfigFlags>(app, std::initializer_list<std::string_view>{"data.", "run.threads"});
  return [options, precision, flags] {
    Config config;
    flags->apply(config);
    return predict_rows(*options, *precision, config);
  };
}

}  // namespace tulle::cli
