#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "commands.h"
#include "exit_codes.h"
#include "options.h"
#include "precision_flags.h"
#include "tulle/base/parallel.h"
#include "tulle/checkpoint/atomic_file.h"
#include "tulle/checkpoint/model_file.h"
#include "tulle/data/load.h"
#include "tulle/data/picture.h"
#include "tulle/train/build.h"
#include "tulle/train/evaluate.h"

namespace tulle::cli {
namespace {

struct PredictOptions {
  std::string model, data, image, output = "-", format = "csv";
  int top = 5;
  bool exact_size = false;
};

std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? "\"\"" : std::string(1, c);
  return out + '"';
}

// One line per sample: the predicted class and all outputs, or the numbers of a regression.
std::string as_csv(const Model& model, std::span<const float> outputs) {
  const auto width = static_cast<std::size_t>(model.network.outputs());
  std::string text = "prediction";
  for (std::size_t c = 0; c < model.class_names.size(); ++c)
    text += "," + quoted("p(" + model.class_names[c] + ")");
  if (model.class_names.empty() && width > 1) {
    text.clear();
    for (std::size_t c = 0; c < width; ++c) text += fmt::format("{}prediction.{}", c == 0 ? "" : ",", c);
  }
  text += '\n';
  for (std::size_t row = 0; row + width <= outputs.size(); row += width) {
    const auto values = outputs.subspan(row, width);
    if (model.class_names.empty()) {
      text += fmt::format("{}\n", fmt::join(values, ","));
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

// Of a regression.
nlohmann::json numbers_of(std::span<const float> values) {
  if (values.size() == 1) return values[0];
  return std::vector<float>(values.begin(), values.end());
}

std::string as_jsonl(const Model& model, std::span<const float> outputs) {
  const auto width = static_cast<std::size_t>(model.network.outputs());
  std::string text;
  for (std::size_t row = 0; row + width <= outputs.size(); row += width) {
    const auto values = outputs.subspan(row, width);
    nlohmann::json line{{"row", row / width}};
    if (model.class_names.empty()) {
      line["prediction"] = numbers_of(values);
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

void write_output(const PredictOptions& options, const std::string& text) {
  if (options.output != "-") {
    write_file_atomically(options.output, text);
  } else if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) {
    throw system_error(errno, "standard output", "write");
  }
}

int predict_rows(const PredictOptions& options, PrecisionFlags& precision, Config config) {
  set_thread_count(static_cast<int>(config.run.threads));
  LoadedModel loaded = load_model(options.model);
  if (!options.data.empty()) config.data.train = options.data;
  if (!config.given.contains("data.label_column")) config.data.label_column = "none";
  if (config.data.nan == "drop")
    throw Error(ErrorKind::kConfig,
                "data.nan, found 'drop', expected 'error' or 'zero': every row has a prediction");
  Features inputs = load_inputs(data_options(config), facts_of(loaded.model));
  const InferenceChoice choice = precision.choice(loaded.model, config, inputs);
  const std::vector<float> outputs = predict(loaded.model, std::move(inputs), choice);
  const std::string text =
      options.format == "csv" ? as_csv(loaded.model, outputs) : as_jsonl(loaded.model, outputs);
  write_output(options, text);
  return kOk;
}

// Whether the scaling was fitted to values from 0 to 1, which no picture of bytes has but a black one.
bool of_small_numbers(const Scaling& scaling) {
  const auto is_small = [](float value) { return std::abs(value) <= 1.0f; };
  return !scaling.mean.empty() && std::ranges::all_of(scaling.mean, is_small) &&
         std::ranges::all_of(scaling.deviation, is_small);
}

// The picture as the model's images are: resized, its middle cut out, gray ones repeated in all colours.
Features picture_inputs(const PredictOptions& options, const Model& model) {
  const ImageShape& shape = model.image;
  if (shape.channels == 0 || shape.height != shape.width)
    throw Error(ErrorKind::kConfig, {.file = options.model},
                "--image, found a model of other data, expected one of square images");
  if (of_small_numbers(model.scaling))
    throw Error(ErrorKind::kConfig, {.file = options.model},
                "--image, found a model of pixels between 0 and 1, expected one trained on bytes");
  const Picture picture = read_picture(options.image);
  if (picture.shape.channels > shape.channels)
    throw Error(ErrorKind::kBadData, {.file = options.image},
                "image, found one in colour, expected a gray one as the model was trained on");
  if (options.exact_size && (picture.shape.width != shape.width || picture.shape.height != shape.height))
    throw Error(ErrorKind::kBadData, {.file = options.image},
                fmt::format("image, found {} x {} pixels, expected {} x {}", picture.shape.width,
                            picture.shape.height, shape.width, shape.height));
  Features inputs{.samples = 1, .features = model.network.inputs()};
  const Picture fitted = fit_square(picture, shape.width, shape.channels);
  inputs.bytes.assign(fitted.bytes.begin(), fitted.bytes.end());
  return inputs;
}

int predict_image(const PredictOptions& options, PrecisionFlags& precision, const Config& config) {
  if (!options.data.empty() || !config.data.train.empty())
    throw Error(ErrorKind::kConfig, "predict, found both --image and --data, expected one");
  set_thread_count(static_cast<int>(config.run.threads));
  LoadedModel loaded = load_model(options.model);
  Features inputs = picture_inputs(options, loaded.model);
  const InferenceChoice choice = precision.choice(loaded.model, config, inputs);
  const std::vector<float> outputs = predict(loaded.model, std::move(inputs), choice);
  const bool csv = options.format == "csv";
  const auto line = [&](const nlohmann::json& of_image) {
    return of_image.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  };
  if (loaded.model.class_names.empty()) {
    write_output(options, csv ? as_csv(loaded.model, outputs)
                              : line({{"image", options.image}, {"prediction", numbers_of(outputs)}}));
    return kOk;
  }
  std::vector<std::size_t> order(outputs.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, std::ranges::greater{}, [&](std::size_t c) { return outputs[c]; });
  order.resize(std::min(order.size(), static_cast<std::size_t>(std::max(options.top, 1))));
  std::string text;
  nlohmann::json classes = nlohmann::json::array();
  for (const std::size_t c : order) {
    classes.push_back({{"class", loaded.model.class_names[c]}, {"probability", outputs[c]}});
    text += fmt::format("{:>6.2f} %  {}\n", 100.0 * static_cast<double>(outputs[c]),
                        escape_control(loaded.model.class_names[c]));
  }
  write_output(options, csv ? text : line({{"image", options.image}, {"classes", classes}}));
  return kOk;
}

}  // namespace

Command predict_command(CLI::App& app) {
  auto options = std::make_shared<PredictOptions>();
  app.add_option("model", options->model, "model file or checkpoint")->required();
  app.add_option("--data", options->data, "inputs; - reads standard input");
  CLI::Option* const image =
      app.add_option("--image", options->image, "one JPEG or PNG picture: its most likely classes");
  app.add_option("--top", options->top, "with --image: how many classes")
      ->needs(image)
      ->capture_default_str();
  app.add_flag("--exact-size", options->exact_size,
               "with --image: refuse a picture of another size than the model's")
      ->needs(image);
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
    if (!options->image.empty()) return predict_image(*options, *precision, config);
    return predict_rows(*options, *precision, config);
  };
}

}  // namespace tulle::cli
