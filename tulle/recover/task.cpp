#include "tulle/recover/task.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tulle/base/check.h"
#include "tulle/base/error.h"
#include "tulle/base/random.h"
#include "tulle/recover/planted.h"

namespace tulle {

namespace {

constexpr std::int64_t kFresh = 5000;

double largest(std::span<const double> y) {
  double peak = 0.0;
  for (const double v : y) peak = std::max(peak, std::abs(v));
  return peak;
}

// 0 and 1 of the second class, or one-hot outputs, or the numbers themselves.
std::vector<double> wanted(const Split& split, const Samples& x, std::int32_t outputs) {
  std::vector<double> y(static_cast<std::size_t>(outputs * x.padded()), 0.0);
  for (std::size_t i = 0; i < static_cast<std::size_t>(x.count()); ++i) {
    if (split.classes.empty())
      for (std::size_t o = 0; o < static_cast<std::size_t>(outputs); ++o)
        y[o * static_cast<std::size_t>(x.padded()) + i] =
            static_cast<double>(split.targets[i * static_cast<std::size_t>(outputs) + o]);
    else if (outputs == 1)
      y[i] = split.classes[i];
    else
      y[static_cast<std::size_t>(split.classes[i] * x.padded()) + i] = 1.0;
  }
  return y;
}

}  // namespace

RecoverTask planted_task(const PlantedOptions& options) {
  RecoverTask task;
  SparseNet net;
  const auto d = static_cast<std::int32_t>(options.features);
  std::int32_t inputs = d;
  const std::int64_t each = options.nnz / (options.hidden_layers + (options.outputs > 1 ? 1 : 0));
  require(each > 0, "planted task: at least one nonzero a layer");
  for (std::int64_t l = 0; l < options.hidden_layers; ++l) {
    const bool last = l + 1 == options.hidden_layers;
    SparseWeights layer = planted_weights(options.hidden_width, inputs, each, last && options.mixed_signs,
                                          options.seed, static_cast<std::uint32_t>(l));
    inputs = static_cast<std::int32_t>(layer.blocks().size());
    (last ? net.weights : net.below.emplace_back()) = std::move(layer);
  }
  task.outputs = options.outputs;
  if (options.outputs > 1)
    net.output = planted_weights(options.outputs, static_cast<std::int32_t>(options.hidden_width), each,
                                 false, options.seed, static_cast<std::uint32_t>(options.hidden_layers));
  task.x = planted_samples(options.samples, d, options.seed, 0);
  task.fresh_x = planted_samples(kFresh, d, options.seed, 1);
  task.y = net_outputs(task.x, net);
  task.fresh_y = net_outputs(task.fresh_x, net);
  task.peak = largest(task.y);
  task.planted = std::move(net);
  return task;
}

RecoverTask sensing_task(std::int64_t samples, std::int32_t features, std::int64_t nnz, std::uint64_t seed) {
  RecoverTask task;
  task.linear = true;
  SparseWeights weights = planted_weights(1, features, nnz, false, seed);
  std::ranges::fill(weights.values(), 1.0);
  task.x = planted_samples(samples, features, seed, 0);
  task.planted = SparseNet{.weights = std::move(weights)};
  task.y = task_outputs(task, false, *task.planted);
  task.peak = largest(task.y);
  return task;
}

RecoverTask image_task(const Picture& picture, const CoordinateOptions& options) {
  RecoverTask task;
  task.image = picture.shape;
  task.x = pixel_samples(picture.shape, options);
  task.y.assign(static_cast<std::size_t>(task.x.padded()), 0.0);
  for (std::size_t i = 0; i < picture.bytes.size(); ++i) task.y[i] = picture.bytes[i] / 255.0;
  task.peak = 1.0;
  return task;
}

Picture picture_of(const ImageShape& shape, std::span<const double> outputs) {
  Picture picture{.shape = shape, .bytes = {}};
  const std::int64_t values = std::int64_t{shape.channels} * shape.height * shape.width;
  for (std::int64_t i = 0; i < values; ++i)
    picture.bytes.push_back(static_cast<std::uint8_t>(
        std::lround(255.0 * std::clamp(outputs[static_cast<std::size_t>(i)], 0.0, 1.0))));
  return picture;
}

RecoverTask data_task(Dataset data, bool bias) {
  if (data.train.inputs.is_sparse() || data.train.inputs.is_generated())
    throw Error(
        ErrorKind::kConfig,
        "recover.task, found sparse or synthetic inputs, expected dense ones: features are read one by one");
  if (!data.train.sets.empty())
    throw Error(ErrorKind::kConfig,
                "recover.task, found sets of labels, expected one class or number for each sample");
  RecoverTask task;
  const std::size_t classes = data.class_names.size();
  task.outputs = classes == 0  ? data.train.target_width
                 : classes > 2 ? static_cast<std::int32_t>(classes)
                               : 1;
  task.classify = classes > 2;
  task.bias = bias;
  const auto take = [&](Split& split, Samples& x, std::vector<double>& y) {
    if (split.inputs.samples == 0) return;
    x = to_samples(split.inputs, data.scaling, bias);
    split.inputs = {};
    y = wanted(split, x, task.outputs);
  };
  take(data.train, task.x, task.y);
  take(data.test, task.fresh_x, task.fresh_y);
  task.class_names = std::move(data.class_names);
  task.scaling = std::move(data.scaling);
  task.peak = largest(task.y);
  return task;
}

std::vector<double> task_outputs(const RecoverTask& task, bool fresh, const SparseNet& net) {
  const Samples& x = fresh ? task.fresh_x : task.x;
  if (!task.linear) return net_outputs(x, net);
  std::vector<double> y(static_cast<std::size_t>(x.padded()));
  for (std::size_t k = 0; k < net.weights.feature().size(); ++k) {
    const float* const column = x.column(net.weights.feature()[k]);
    for (std::size_t i = 0; i < y.size(); ++i)
      y[i] += net.weights.values()[k] * static_cast<double>(column[i]);
  }
  return y;
}

Fit measure(const RecoverTask& task, bool fresh, std::span<const double> outputs) {
  const Samples& x = fresh ? task.fresh_x : task.x;
  const std::vector<double>& y = fresh ? task.fresh_y : task.y;
  Fit fit;
  double missed = 0.0, whole = 0.0;
  std::int64_t right = 0;
  for (std::int64_t i = 0; i < x.count(); ++i) {
    std::int64_t best = 0, label = 0;
    for (std::int64_t o = 0; o < task.outputs; ++o) {
      const auto at = static_cast<std::size_t>(o * x.padded() + i);
      missed += (outputs[at] - y[at]) * (outputs[at] - y[at]);
      whole += y[at] * y[at];
      if (outputs[at] > outputs[static_cast<std::size_t>(best * x.padded() + i)]) best = o;
      if (y[at] == 1.0) label = o;
    }
    if (task.outputs == 1)
      right += (outputs[static_cast<std::size_t>(i)] >= 0.5) == (y[static_cast<std::size_t>(i)] >= 0.5);
    else
      right += best == label;
  }
  fit.mse = missed / static_cast<double>(x.count() * task.outputs);
  fit.psnr = 20.0 * std::log10(task.peak) - 10.0 * std::log10(std::max(fit.mse, 1e-30));
  fit.relative_error = whole > 0.0 ? std::sqrt(missed / whole) : 0.0;
  if (!task.class_names.empty()) fit.accuracy = static_cast<double>(right) / static_cast<double>(x.count());
  return fit;
}

}  // namespace tulle
