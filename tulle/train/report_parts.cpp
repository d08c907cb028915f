#include "tulle/train/report_parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>

#include "tulle/base/error.h"
#include "tulle/checkpoint/integrity.h"
#include "tulle/checkpoint/model_file.h"
#include "tulle/data/load.h"
#include "tulle/report/result.h"
#include "tulle/train/build.h"
#include "tulle/train/config.h"
#include "tulle/train/evaluate.h"
#include "tulle/vision/smlp_net.h"

namespace tulle {
namespace {

namespace fs = std::filesystem;

constexpr std::uintmax_t kMostHashed = 1'000'000'000;  // bytes
constexpr std::int64_t kMostAsked = 2000, kShown = 12;
constexpr int kSide = 64;  // of a picture in the page

// The first samples of a split, stored dense.
Features first_of(const Features& all, std::int64_t samples) {
  const auto values = static_cast<std::ptrdiff_t>(samples * all.features);
  Features some{.samples = samples, .features = all.features, .bytes = {}, .floats = {}, .sparse = {}};
  if (!all.bytes.empty()) some.bytes.assign(all.bytes.begin(), all.bytes.begin() + values);
  if (!all.floats.empty()) some.floats.assign(all.floats.begin(), all.floats.begin() + values);
  return some;
}

// Bytes as they are; other values from the smallest, black, to the largest, white.
Picture picture_of(const Features& inputs, std::int64_t sample, const ImageShape& shape) {
  Picture picture{.shape = shape, .bytes = {}};
  float low = 0.0f, high = 255.0f;
  if (inputs.bytes.empty()) {
    const auto begin = inputs.floats.begin() + static_cast<std::ptrdiff_t>(sample * inputs.features);
    const auto [least, most] = std::minmax_element(begin, begin + inputs.features);
    low = *least, high = std::max(*most, *least + 1e-6f);
  }
  for (std::int32_t f = 0; f < inputs.features; ++f)
    picture.bytes.push_back(static_cast<std::uint8_t>(
        std::clamp(255.0f * (inputs.at(sample, f) - low) / (high - low), 0.0f, 255.0f)));
  return std::max(shape.height, shape.width) > kSide ? fit_square(picture, kSide, shape.channels) : picture;
}

bool are_pictures(const Features& inputs, const ImageShape& shape) {
  return inputs.samples > 0 && !inputs.is_sparse() && !inputs.is_generated() && shape.height > 0 &&
         shape.width > 0 && (shape.channels == 1 || shape.channels == 3) &&
         1.0 * shape.height * shape.width * shape.channels == inputs.features;
}

// What an sMLPNet learnt to mix: rows and columns of each block.
std::vector<MatrixRecord> mixing_of(const Network& network) {
  std::vector<MatrixRecord> matrices;
  const SmlpNet* const net = smlp_of(network);
  if (net == nullptr) return matrices;
  for (const NamedArray& array : const_cast<SmlpNet*>(net)->arrays()) {
    const bool rows = array.name.ends_with(".proj_h.weight");
    if (!rows && !array.name.ends_with(".proh_w.weight")) continue;
    const auto side = static_cast<int>(array.shape[0]);
    float most = 1e-30f;
    for (const float value : *array.values) most = std::max(most, std::abs(value));
    Picture picture{.shape = {.channels = 1, .height = side, .width = side}, .bytes = {}};
    for (const float value : *array.values)
      picture.bytes.push_back(static_cast<std::uint8_t>(std::lround(127.5f + 127.5f * value / most)));
    if (side > kSide) picture = fit_square(picture, kSide, 1);
    const std::size_t block = matrices.size() / 2 + 1;  // a matrix for rows and one for columns
    matrices.push_back({std::move(picture), fmt::format("block {}, {}", block, rows ? "rows" : "columns")});
  }
  return matrices;
}

// The test data of a run, as its config names it: the model's own config names none.
Split test_data(const std::string& directory, const Model& model) {
  Config config;
  read_config_file(config, directory + "/config.toml");
  if (config.data.format != "fashion-mnist") {
    if (config.data.test.empty()) return {};
    config.data.train = config.data.test;
    config.data.train_labels = config.data.test_labels;
  }
  config.data.max_rows = kMostAsked;
  return load_labelled_split(data_options(config), facts_of(model));
}

}  // namespace

void add_model(ReportRun& run, const Model& model, const std::string& path) {
  run.structure = structure_of(model.network);
  run.mixing = mixing_of(model.network);
  std::error_code missing;
  const std::uintmax_t bytes = fs::file_size(path, missing);
  if (missing) return;
  run.model_bytes = bytes_text(static_cast<std::int64_t>(bytes));
  if (bytes <= kMostHashed) run.model_hash = file_hash(path);
}

void add_samples(ReportRun& run, Model& model, const Split& test) {
  const ImageShape& shape = model.image;
  if (model.class_names.empty() || test.classes.empty() || !are_pictures(test.inputs, shape)) return;
  const Features inputs = first_of(test.inputs, std::min(test.inputs.samples, kMostAsked));
  const std::vector<float> outputs = predict(model, inputs);
  const auto classes = static_cast<std::ptrdiff_t>(model.class_names.size());
  std::vector<std::ptrdiff_t> predicted, mistakes;
  for (std::int64_t sample = 0; sample < inputs.samples; ++sample) {
    const auto begin = outputs.begin() + sample * classes;
    predicted.push_back(std::max_element(begin, begin + classes) - begin);
    if (predicted.back() != test.classes[static_cast<std::size_t>(sample)]) mistakes.push_back(sample);
  }
  const auto probability = [&](std::ptrdiff_t sample) {
    return outputs[static_cast<std::size_t>(sample * classes + predicted[static_cast<std::size_t>(sample)])];
  };
  std::stable_sort(mistakes.begin(), mistakes.end(),
                   [&](auto a, auto b) { return probability(a) > probability(b); });
  std::vector<std::ptrdiff_t> shown(static_cast<std::size_t>(std::min(inputs.samples, kShown)));
  std::iota(shown.begin(), shown.end(), 0);
  for (const std::ptrdiff_t mistake : mistakes)
    if (mistake >= kShown && shown.size() < 2 * kShown) shown.push_back(mistake);
  const auto name = [&](std::ptrdiff_t number) {
    return model.class_names[static_cast<std::size_t>(number)];
  };
  for (const std::ptrdiff_t sample : shown)
    run.samples.push_back({.picture = picture_of(inputs, sample, shape),
                           .actual = name(test.classes[static_cast<std::size_t>(sample)]),
                           .predicted = name(predicted[static_cast<std::size_t>(sample)]),
                           .probability = probability(sample)});
}

ReportRun whole_run(const std::string& directory, std::vector<std::string>& skipped) {
  ReportRun run = read_run(directory);
  if (run.seeds.empty()) return run;
  const std::string path = run.seeds.front().directory + "/model.safetensors";
  if (!fs::is_regular_file(path)) return run;  // it still trains
  try {
    Model model = load_model(path).model;
    add_model(run, model, path);
    add_samples(run, model, test_data(run.seeds.front().directory, model));
  } catch (const Error& error) {
    skipped.push_back(error.what());
  }
  return run;
}

}  // namespace tulle
