#pragma once

#include <array>
#include <cstdint>
#include <functional>

#include "tulle/nn/loss.h"

namespace tulle {

/// Up to 16 samples side by side in a panel, a lane each: a cache line of every output. Losses walk them
/// output by output, so that each line is fetched once.
struct LossLanes {
  static constexpr std::int32_t kMost = 16;
  template <class T>
  using Each = std::array<T, kMost>;

  std::int32_t first, count;  // samples; the lanes beyond them are none
  std::int32_t outputs;
  std::int64_t stride;  // from an output to the next
  const float* z;       // lane 0 of output 0
  float* gradient;      // the same, or null: not wanted
  Each<float> weight{};
  Each<double> loss{};         // of each sample, unweighted
  Each<float> largest{};       // of the outputs seen; NaN: none that compares
  Each<std::int32_t> guess{};  // the first output that is, or -1

  /// Takes in the next output.
  void see(std::int32_t output, const float* line) {
    for (std::int32_t l = 0; l < count; ++l) {
      const auto i = static_cast<std::size_t>(l);
      const bool better = line[l] == line[l] && !(line[l] <= largest[i]);
      largest[i] = better ? line[l] : largest[i];
      guess[i] = better ? output : guess[i];
    }
  }

  /// What up to 16 outputs from `output` on should be, each in all lanes.
  void want(const Targets& targets, std::int32_t output, Each<Each<float>>& wanted) const;

  /// body(output, offset of its lanes, what they should be) for all outputs, ascending.
  template <class Body>
  void each_output(const Targets& targets, const Body& body) const {
    Each<Each<float>> wanted{};  // rows of targets are read along, not across
    for (std::int32_t c = 0; c < outputs; ++c) {
      if (c % kMost == 0) want(targets, c, wanted);
      body(c, c * stride, wanted[static_cast<std::size_t>(c % kMost)].data());
    }
  }
};

/// The loss of a batch: of_lanes() sees all outputs of its lanes and leaves their losses and gradients. It
/// runs in parallel; losses are added in the order of the samples.
LossResult sum_over_samples(Panels<const float> z, const Targets& targets, const LossOptions& options,
                            Panels<float> gradient, const std::function<void(LossLanes&)>& of_lanes);

/// A loss that is a sum over outputs: per_output(z, wanted) gives {loss, dloss/dz} of one output of one
/// sample. loss_scale multiplies the reported value only.
template <class PerOutput>
LossResult sum_over_outputs(Panels<const float> z, const Targets& targets, const LossOptions& options,
                            double loss_scale, Panels<float> gradient, const PerOutput& per_output) {
  const float inverse_batch = 1.0f / static_cast<float>(z.batch);
  return sum_over_samples(z, targets, options, gradient, [&](LossLanes& lanes) {
    lanes.each_output(targets, [&](std::int32_t output, std::int64_t at, const float* wanted) {
      lanes.see(output, lanes.z + at);
      for (std::int32_t l = 0; l < lanes.count; ++l) {
        const auto i = static_cast<std::size_t>(l);
        const auto [loss, slope] = per_output(lanes.z[at + l], wanted[l]);
        lanes.loss[i] += loss_scale * loss;
        if (lanes.gradient != nullptr) lanes.gradient[at + l] = lanes.weight[i] * slope * inverse_batch;
      }
    });
  });
}

}  // namespace tulle
