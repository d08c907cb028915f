#include "tulle/train/predictor.h"

#include <algorithm>
#include <numeric>

#include "tulle/base/check.h"
#include "tulle/base/error.h"
#include "tulle/data/loader.h"
#include "tulle/data/rows.h"
#include "tulle/kernels/gather.h"
#include "tulle/nn/loss.h"
#include "tulle/vision/smlp_net.h"

namespace tulle {

Precision trained_precision(const Network& network) {
  if (const SmlpNet* const net = smlp_of(network); net != nullptr)
    return net->bf16() ? Precision::kBf16 : Precision::kFloat;
  for (std::size_t l = 0; l < network.size(); ++l)
    if (network.layer(l).options().precision != Precision::kFloat)
      return network.layer(l).options().precision;
  return Precision::kFloat;
}

std::vector<kernels::ByteScale> calibrate(Model& model, const Features& inputs) {
  constexpr std::int64_t kSamples = 2048;
  if (model.network.architecture() != nullptr)
    throw Error(ErrorKind::kConfig, "dtype, found 'int8', expected 'f32' or 'bf16' of an image network");
  require(inputs.samples > 0 && inputs.features == model.network.inputs(),
          "calibrate: int8 needs inputs with the model's features");
  const std::int64_t samples = std::min(inputs.samples, kSamples);
  Split split;
  split.inputs = inputs;
  std::vector<std::uint32_t> rows(static_cast<std::size_t>(samples));
  std::iota(rows.begin(), rows.end(), 0u);
  keep_rows(split, rows);
  Loader loader(split, model.scaling, static_cast<int>(samples), /*keep_last=*/true, model.seed);
  return byte_scales(model.network, loader.get(0, model.network.panel_width(samples)).inputs);
}

Inference make_inference(Model& model, std::int32_t batch, const InferenceChoice& choice) {
  const Precision precision = choice.precision.value_or(trained_precision(model.network));
  return Inference(model.network, {.batch = batch, .precision = precision, .scales = choice.scales});
}

Predictor::Predictor(Model& model, std::int32_t batch, const InferenceChoice& choice)
    : loss_(model.loss),
      features_(model.network.inputs()),
      outputs_(model.network.outputs()),
      batch_(batch),
      mean_(scaling_means(model.scaling, features_)),
      factor_(scaling_factors(model.scaling, features_)),
      rows_(static_cast<std::size_t>(batch)),
      inference_(make_inference(model, batch, choice)) {
  std::iota(rows_.begin(), rows_.end(), 0u);
  panels_.view(features_, batch_, inference_.panel_width());
}

void Predictor::predict(std::span<const float> inputs, std::span<float> predictions_out) {
  const auto features = static_cast<std::size_t>(features_), outputs = static_cast<std::size_t>(outputs_);
  const std::size_t samples = inputs.size() / features;
  require(inputs.size() == samples * features && predictions_out.size() == samples * outputs,
          "Predictor: inputs must be [sample][features] and predictions [sample][outputs]");
  for (std::size_t first = 0; first < samples;) {
    const std::size_t count = std::min(samples - first, static_cast<std::size_t>(batch_));
    const Panels<const float> z =
        inference_.forward(gather(inputs.subspan(first * features, count * features)));
    predictions(loss_, z, predictions_out.subspan(first * outputs, count * outputs));
    first += count;
  }
}

Panels<const float> Predictor::gather(std::span<const float> samples) {
  const auto count = static_cast<std::int32_t>(samples.size() / static_cast<std::size_t>(features_));
  const int width = inference_.panel_width();
  const Panels<float> panels = panels_.view(features_, count, width);
  if (width == 1) {
    for (std::size_t f = 0; f < samples.size(); ++f) panels.data[f] = (samples[f] - mean_[f]) * factor_[f];
    return panels;
  }
  for (std::int32_t p = 0; p < panels.count(); ++p) {
    const auto lanes = static_cast<std::size_t>(std::min(width, count - p * width));
    kernels::gather_panel(samples.data() + std::int64_t{p} * width * features_, features_,
                          std::span(rows_).first(lanes), {0, features_}, mean_.data(), factor_.data(),
                          panels.panel(p), width);
  }
  return panels;
}

}  // namespace tulle
