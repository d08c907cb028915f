#pragma once

#include "tulle/nn/loss.h"

namespace tulle {

/// A loss that is a sum over outputs: per_output(z, wanted) gives {loss, dloss/dz} of one output of one
/// sample. loss_scale multiplies the reported value only.
template <class PerOutput>
LossResult sum_over_outputs(Panels<const float> z, const Targets& targets, const LossOptions& options,
                            double loss_scale, Panels<float> gradient, const PerOutput& per_output) {
  const float inverse_batch = 1.0f / static_cast<float>(z.batch);
  LossResult result;
  for (std::int32_t b = 0; b < z.batch; ++b) {
    const float weight = options.weight_of(b, targets);
    for (std::int32_t c = 0; c < z.features; ++c) {
      const auto [loss, slope] = per_output(z.at(b, c), targets.at(b, c, z.features));
      result.loss_sum += loss_scale * weight * loss;
      if (gradient) gradient.at(b, c) = weight * slope * inverse_batch;
    }
    if (is_right(z, b, targets)) ++result.correct;
  }
  if (gradient)
    for (std::int32_t b = z.batch; b < z.count() * z.width; ++b)
      for (std::int32_t c = 0; c < z.features; ++c) gradient.at(b, c) = 0.0f;
  return result;
}

}  // namespace tulle
