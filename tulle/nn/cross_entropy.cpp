#include <algorithm>
#include <cmath>
#include <vector>

#include "tulle/nn/loss.h"

namespace tulle {

LossResult cross_entropy(Panels<const float> z, const Targets& targets, const LossOptions& options,
                         Panels<float> gradient) {
  const std::int32_t classes = z.features;
  const auto smoothing = static_cast<float>(options.label_smoothing);
  const float inverse_batch = 1.0f / static_cast<float>(z.batch);
  LossResult result;
  std::vector<float> p(static_cast<std::size_t>(classes));
  for (std::int32_t b = 0; b < z.batch; ++b) {
    float largest = z.at(b, 0);
    for (std::int32_t c = 1; c < classes; ++c) largest = std::max(largest, z.at(b, c));
    double sum = 0.0;
    for (std::int32_t c = 0; c < classes; ++c) {
      p[static_cast<std::size_t>(c)] = std::exp(z.at(b, c) - largest);
      sum += p[static_cast<std::size_t>(c)];
    }
    const double log_sum = std::log(sum);
    const float weight = options.weight_of(b, targets);
    double loss = 0.0;
    for (std::int32_t c = 0; c < classes; ++c) {
      const float wanted =
          (1.0f - smoothing) * targets.at(b, c, classes) + smoothing / static_cast<float>(classes);
      double log_p = static_cast<double>(z.at(b, c)) - largest - log_sum;
      if (options.ce_clip > 0.0)
        log_p = std::clamp(log_p, std::log(options.ce_clip), std::log1p(-options.ce_clip));
      if (wanted != 0.0f) loss -= wanted * log_p;
      if (gradient)
        gradient.at(b, c) =
            weight * (p[static_cast<std::size_t>(c)] / static_cast<float>(sum) - wanted) * inverse_batch;
    }
    result.loss_sum += weight * loss;
    if (is_right(z, b, targets)) ++result.correct;
  }
  if (gradient)
    for (std::int32_t b = z.batch; b < z.count() * z.width; ++b)
      for (std::int32_t c = 0; c < classes; ++c) gradient.at(b, c) = 0.0f;
  return result;
}

}  // namespace tulle
