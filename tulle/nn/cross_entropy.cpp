#include <algorithm>
#include <cmath>
#include <limits>

#include "tulle/nn/outputwise.h"

namespace tulle {

LossResult cross_entropy(Panels<const float> z, const Targets& targets, const LossOptions& options,
                         Panels<float> gradient) {
  constexpr double kNoLimit = std::numeric_limits<double>::infinity();
  const bool clips = options.ce_clip > 0.0;
  const double lowest = clips ? std::log(options.ce_clip) : -kNoLimit;
  const double highest = clips ? std::log1p(-options.ce_clip) : kNoLimit;
  const auto smoothing = static_cast<float>(options.label_smoothing);
  const float kept = 1.0f - smoothing, shared = smoothing / static_cast<float>(z.features);
  const float inverse_batch = 1.0f / static_cast<float>(z.batch);
  return sum_over_samples(z, targets, options, gradient, [&](LossLanes& lanes) {
    for (std::int32_t c = 0; c < lanes.outputs; ++c) lanes.see(c, lanes.z + c * lanes.stride);
    LossLanes::Each<double> log_sum{};
    LossLanes::Each<float> sum{};
    for (std::int32_t c = 0; c < lanes.outputs; ++c)
      for (std::int32_t l = 0; l < lanes.count; ++l) {
        const auto i = static_cast<std::size_t>(l);
        const std::int64_t at = c * lanes.stride + l;
        const float p = std::exp(lanes.z[at] - lanes.largest[i]);
        log_sum[i] += p;
        if (lanes.gradient != nullptr) lanes.gradient[at] = p;  // until the sum is known
      }
    for (std::size_t i = 0; i < log_sum.size(); ++i) {
      sum[i] = static_cast<float>(log_sum[i]);
      log_sum[i] = std::log(log_sum[i]);
    }
    lanes.each_output(targets, [&](std::int32_t, std::int64_t at, const float* wanted) {
      for (std::int32_t l = 0; l < lanes.count; ++l) {
        const auto i = static_cast<std::size_t>(l);
        const float y = kept * wanted[l] + shared;
        const double log_p =
            std::clamp(static_cast<double>(lanes.z[at + l]) - lanes.largest[i] - log_sum[i], lowest, highest);
        if (y != 0.0f) lanes.loss[i] -= y * log_p;
        if (lanes.gradient != nullptr)
          lanes.gradient[at + l] = lanes.weight[i] * (lanes.gradient[at + l] / sum[i] - y) * inverse_batch;
      }
    });
  });
}

}  // namespace tulle
