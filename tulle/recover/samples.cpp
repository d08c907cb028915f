#include "tulle/recover/samples.h"

#include "tulle/base/check.h"
#include "tulle/base/parallel.h"

namespace tulle {

Samples to_samples(const Features& inputs, const Scaling& scaling, bool bias) {
  require(!inputs.is_sparse(), "samples: inputs must be dense");
  Samples x(inputs.samples, inputs.features + (bias ? 1 : 0));
  parallel_ranges(inputs.features, 1, [&](Range features) {
    for (std::int64_t c = features.begin; c < features.end; ++c) {
      const auto f = static_cast<std::size_t>(c);
      const float mean = scaling.mean.empty() ? 0.0f : scaling.mean[f];
      const float deviation = scaling.deviation.empty() ? 1.0f : scaling.deviation[f];
      const float factor = deviation == 0.0f ? 0.0f : 1.0f / deviation;
      float* const column = x.column(c);
      for (std::int64_t i = 0; i < inputs.samples; ++i) column[i] = (inputs.at(i, c) - mean) * factor;
    }
  });
  if (bias) std::fill_n(x.column(inputs.features), inputs.samples, 1.0f);
  return x;
}

Samples select_samples(const Samples& all, std::span<const std::uint32_t> rows) {
  Samples some(static_cast<std::int64_t>(rows.size()), all.features());
  parallel_ranges(all.features(), 1, [&](Range features) {
    for (std::int64_t c = features.begin; c < features.end; ++c) {
      const float* const from = all.column(c);
      float* const to = some.column(c);
      for (std::size_t i = 0; i < rows.size(); ++i) to[i] = from[rows[i]];
    }
  });
  return some;
}

}  // namespace tulle
