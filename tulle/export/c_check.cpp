#include "tulle/export/c_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tulle/base/check.h"
#include "tulle/data/loader.h"
#include "tulle/data/rows.h"
#include "tulle/nn/inference.h"

namespace tulle {
namespace {

constexpr int kBatch = 64;

std::vector<float> sample_of(Panels<const float> panels, std::int32_t sample) {
  std::vector<float> values;
  for (std::int32_t f = 0; f < panels.features; ++f) values.push_back(panels.at(sample, f));
  return values;
}

// As the C code does it: the first of equals, -1 if none compares.
std::int64_t arg_max(std::span<const float> y) {
  std::int64_t best = -1;
  for (std::size_t i = 0; i < y.size(); ++i)
    if (best < 0 ? y[i] == y[i] : y[i] > y[static_cast<std::size_t>(best)])
      best = static_cast<std::int64_t>(i);
  return best;
}

// 0, 1/2 or 1 deviation above each mean; 0, 1 or 2 without scaling.
std::vector<float> pattern(std::int32_t features, const Scaling& scaling) {
  std::vector<float> values;
  for (std::int32_t j = 0; j < features; ++j) {
    const auto f = static_cast<std::size_t>(j);
    const float mean = scaling.mean.empty() ? 0.0f : scaling.mean[f];
    const float deviation = scaling.deviation.empty() ? 2.0f : scaling.deviation[f];
    const float value = mean + deviation * 0.5f * static_cast<float>(std::int64_t{j} * 73 % 97 % 3);
    values.push_back(deviation >= 2.0f || deviation == 0.0f ? std::round(value) : value);
  }
  return values;
}

}  // namespace

CComparison compare_with_engine(const CNet& net, const Model& model, bool scaled, const Split& data,
                                std::int64_t rows) {
  require(data.inputs.features == net.inputs(),
          fmt::format("samples, found {} features, expected {}, the model's", data.inputs.features,
                      net.inputs()));
  CComparison result;
  const bool classes = !data.classes.empty();
  const std::int64_t samples = classes ? data.inputs.samples : std::min(rows, data.inputs.samples);
  if (samples == 0) return result;
  Loader given(data, scaled ? model.scaling : Scaling(), kBatch, /*keep_last=*/true, 0);
  Loader to_engine(data, model.scaling, kBatch, /*keep_last=*/true, 0);
  given.start_epoch(0, /*shuffled=*/false);
  to_engine.start_epoch(0, /*shuffled=*/false);
  Inference engine(model.network, {.batch = kBatch});
  for (std::int64_t first = 0; first < samples; first += kBatch) {
    const Batch batch = to_engine.get(first / kBatch, engine.panel_width());
    const Panels<const float> outputs = engine.forward(batch.inputs);
    const Panels<const float> inputs = given.get(first / kBatch, engine.panel_width()).inputs;
    const std::int64_t count = std::min<std::int64_t>(outputs.batch, samples - first);
    for (std::int32_t b = 0; b < count; ++b) {
      const std::vector<float> by_engine = sample_of(outputs, b), by_c = net.run(sample_of(inputs, b));
      const std::int64_t engine_class = arg_max(by_engine), c_class = arg_max(by_c);
      if (result.rows < rows) {
        ++result.rows;
        result.same_arg_max += engine_class == c_class;
        for (std::size_t i = 0; i < by_c.size(); ++i)
          result.largest_difference =
              std::max(result.largest_difference, std::abs(double{by_c[i]} - by_engine[i]));
      }
      if (!classes) continue;
      ++result.labelled;
      const std::int64_t truth = batch.classes[static_cast<std::size_t>(b)];
      result.correct_engine += engine_class == truth;
      result.correct_c += c_class == truth;
    }
  }
  return result;
}

std::vector<kernels::ByteScale> calibrate(const CNet& net, const Model& model, bool scaled,
                                          const Split& data) {
  require(data.inputs.features == net.inputs(),
          fmt::format("samples, found {} features, expected {}, the model's", data.inputs.features,
                      net.inputs()));
  constexpr std::int64_t kSamples = 1000;
  const std::int64_t samples = data.inputs.samples, count = std::min(samples, kSamples);
  std::vector<std::uint32_t> rows;
  for (std::int64_t i = 0; i < count; ++i) rows.push_back(static_cast<std::uint32_t>(i * samples / count));
  const Split some = take_rows(data, rows);
  Loader loader(some, scaled ? model.scaling : Scaling(), kBatch, /*keep_last=*/true, 0);
  loader.start_epoch(0, /*shuffled=*/false);
  std::vector<std::vector<float>> seen(net.layers.size());
  for (std::int64_t first = 0; first < count; first += kBatch) {
    const Panels<const float> inputs = loader.get(first / kBatch, 16).inputs;
    for (std::int32_t b = 0; b < inputs.batch; ++b)
      net.run(sample_of(inputs, b), [&](std::size_t l, std::span<const float> values) {
        seen[l].insert(seen[l].end(), values.begin(), values.end());
      });
  }
  std::vector<kernels::ByteScale> scales;
  for (std::vector<float>& values : seen) scales.push_back(byte_scale(std::move(values)));
  return scales;
}

bool CSelfCheck::fits_bytes() const {
  return std::ranges::all_of(
      input, [](float value) { return value >= 0.0f && value <= 255.0f && value == std::floor(value); });
}

CSelfCheck make_self_check(const CNet& net, const Model& model, bool scaled, const Split& data) {
  CSelfCheck check{.from_data = data.inputs.samples > 0};
  if (check.from_data) {
    const std::uint32_t row[] = {0};
    const Split first = take_rows(data, row);
    Loader loader(first, scaled ? model.scaling : Scaling(), 1, /*keep_last=*/true, 0);
    check.input = sample_of(loader.get(0, 16).inputs, 0);
  } else {
    check.input = pattern(net.inputs(), scaled ? Scaling() : model.scaling);
  }
  const CNet::Exact exact = net.run_exactly(check.input);
  check.output = exact.output;
  for (std::size_t i = 0; i < exact.output.size(); ++i)  // the stored answer is rounded too
    check.tolerance = std::max(check.tolerance, exact.bound[i] + 0x1p-23 * std::abs(exact.output[i]));
  return check;
}

}  // namespace tulle
