#include "tulle/nn/outputwise.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "tulle/base/parallel.h"

namespace tulle {
namespace {

constexpr std::int64_t kLossGrain = 1 << 12;  // outputs of samples that are worth a thread

}  // namespace

void LossLanes::want(const Targets& targets, std::int32_t output, Each<Each<float>>& wanted) const {
  const std::int32_t found = std::min(kMost, outputs - output);
  if (targets.values.empty()) wanted = {};
  for (std::int32_t l = 0; l < count; ++l) {
    const auto lane = static_cast<std::size_t>(l);
    if (targets.values.empty()) {
      const std::int32_t c = targets.classes[static_cast<std::size_t>(first + l)] - output;
      if (c >= 0 && c < found) wanted[static_cast<std::size_t>(c)][lane] = 1.0f;
    } else {
      for (std::int32_t c = 0; c < found; ++c)
        wanted[static_cast<std::size_t>(c)][lane] = targets.at(first + l, output + c, outputs);
    }
  }
}

LossResult sum_over_samples(Panels<const float> z, const Targets& targets, const LossOptions& options,
                            Panels<float> gradient, const std::function<void(LossLanes&)>& of_lanes) {
  struct OfSample {
    double loss;
    bool right;
  };
  std::vector<OfSample> samples(static_cast<std::size_t>(z.batch));
  const std::int32_t most = std::min(LossLanes::kMost, z.width);
  const std::int64_t lines = static_cast<std::int64_t>(z.count()) * (z.width / most);
  const std::int64_t line_work = static_cast<std::int64_t>(z.features) * most;
  parallel_ranges(lines, (kLossGrain + line_work - 1) / line_work, [&](Range range) {
    for (std::int64_t line = range.begin; line < range.end; ++line) {
      const auto first = static_cast<std::int32_t>(line * most);
      const std::int32_t panel = first / z.width, offset = first % z.width;
      LossLanes lanes{.first = first,
                      .count = std::clamp(z.batch - first, 0, most),
                      .outputs = z.features,
                      .stride = z.width,
                      .z = z.panel(panel) + offset,
                      .gradient = gradient ? gradient.panel(panel) + offset : nullptr};
      lanes.largest.fill(std::numeric_limits<float>::quiet_NaN());
      lanes.guess.fill(-1);
      for (std::int32_t l = 0; l < lanes.count; ++l)
        lanes.weight[static_cast<std::size_t>(l)] = options.weight_of(first + l, targets);
      if (lanes.count > 0) of_lanes(lanes);
      for (std::int32_t l = 0; l < lanes.count; ++l) {
        const auto i = static_cast<std::size_t>(l);
        samples[static_cast<std::size_t>(first + l)] = {
            lanes.weight[i] * lanes.loss[i], is_right(lanes.guess[i], z.features, first + l, targets)};
      }
      for (std::int32_t c = 0; gradient && lanes.count < most && c < z.features; ++c)
        std::fill(lanes.gradient + c * lanes.stride + lanes.count, lanes.gradient + c * lanes.stride + most,
                  0.0f);
    }
  });
  LossResult result;
  for (const OfSample& sample : samples) {
    result.loss_sum += sample.loss;
    result.correct += sample.right;
  }
  return result;
}

}  // namespace tulle
