#include "tulle/export/c_check.h"

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

}  // namespace

CComparison compare_with_engine(const CNet& net, const Network& network, const Scaling& scaling,
                                const Split& data, std::int64_t rows) {
  require(data.inputs.features == net.inputs(), "compare_with_engine: samples must be of the net's features");
  CComparison result;
  const bool classes = !data.classes.empty();
  const std::int64_t samples = classes ? data.inputs.samples : std::min(rows, data.inputs.samples);
  if (samples == 0) return result;
  Loader raw(data, {}, kBatch, /*keep_last=*/true, 0), scaled(data, scaling, kBatch, /*keep_last=*/true, 0);
  raw.start_epoch(0, /*shuffled=*/false);
  scaled.start_epoch(0, /*shuffled=*/false);
  Inference engine(network, {.batch = kBatch});
  for (std::int64_t first = 0; first < samples; first += kBatch) {
    const Batch batch = scaled.get(first / kBatch, engine.panel_width());
    const Panels<const float> outputs = engine.forward(batch.inputs);
    const Panels<const float> inputs = raw.get(first / kBatch, engine.panel_width()).inputs;
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

bool CSelfCheck::fits_bytes() const {
  return std::ranges::all_of(
      input, [](float value) { return value >= 0.0f && value <= 255.0f && value == std::floor(value); });
}

CSelfCheck make_self_check(const CNet& net, const Features& data) {
  CSelfCheck check{.from_data = data.samples > 0};
  if (check.from_data) {
    Split first;
    first.inputs = data;
    const std::uint32_t row[] = {0};
    keep_rows(first, row);
    Loader loader(first, {}, 1, /*keep_last=*/true, 0);
    check.input = sample_of(loader.get(0, 16).inputs, 0);
  } else {
    for (std::int32_t j = 0; j < net.inputs(); ++j)
      check.input.push_back(static_cast<float>((std::int64_t{j} * 73 + 41) % 256));
  }
  const CNet::Exact exact = net.run_exactly(check.input);
  check.output = exact.output;
  for (std::size_t i = 0; i < exact.output.size(); ++i)  // the stored answer is rounded too
    check.tolerance = std::max(check.tolerance, exact.bound[i] + 0x1p-23 * std::abs(exact.output[i]));
  return check;
}

}  // namespace tulle
