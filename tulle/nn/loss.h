#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "tulle/base/panels.h"

namespace tulle {

/// What the outputs of a batch should be: a class per sample, or `outputs` numbers per sample
/// ([sample][output]).
struct Targets {
  std::span<const std::int32_t> classes;
  std::span<const float> values;
  std::span<const float> weights{};  // what each sample counts; empty: 1

  /// The wanted value of one output; classes count as one-hot.
  float at(std::int32_t sample, std::int32_t output, std::int32_t outputs) const {
    const auto b = static_cast<std::size_t>(sample);
    if (values.empty()) return classes[b] == output ? 1.0f : 0.0f;
    return values[b * static_cast<std::size_t>(outputs) + static_cast<std::size_t>(output)];
  }
};

struct LossOptions {
  double label_smoothing = 0.0;  // cross-entropy: y <- (1 - s) y + s / classes
  double mse_factor = 1.0;       // mse: what the gradient is multiplied by; 2: the derivative of the square
  /// cross-entropy: probabilities count as this to 1 - this in the value, as published codes report it; the
  /// gradient knows nothing of it. 0: as they are.
  double ce_clip = 0.0;
  /// What the loss and gradient of a sample of each class are multiplied by; the mean is still over the
  /// batch, and a sample's own weight multiplies that of its class. Empty: nothing.
  std::span<const float> class_weights{};

  float weight_of(std::int32_t sample, const Targets& targets) const {
    const auto b = static_cast<std::size_t>(sample);
    const float own = targets.weights.empty() ? 1.0f : targets.weights[b];
    if (class_weights.empty() || targets.classes.empty()) return own;
    return own * class_weights[static_cast<std::size_t>(targets.classes[b])];
  }
};

struct LossResult {
  double loss_sum = 0.0;     // sum over the samples of each sample's loss times its weight
  std::int64_t correct = 0;  // samples whose largest output is their class, or one of their labels
};

/// Value and gradient of a loss in one call.
/// Shapes  z [panel][output][width]; gradient the same, or empty if not wanted; it gets dL/dz of the mean
/// over the true
///         batch, 0 in padded lanes.
/// Cost    O(batch * outputs).
using ComputeLoss = LossResult(Panels<const float> z, const Targets&, const LossOptions&,
                               Panels<float> gradient);

struct LossInfo {
  std::string_view name;
  std::string_view help;
  std::string_view source;
  ComputeLoss* compute;
};

std::span<const LossInfo> losses();

/// The outputs as predictions: probabilities for cross-entropy and bce, z itself for mse. Shapes: out
/// [sample][output].
void predictions(std::string_view loss, Panels<const float> z, std::span<float> out);

/// Index of the largest output of one sample; the first of equals. -1 if none compares (NaN).
std::int32_t arg_max(Panels<const float> z, std::int32_t sample);

/// Whether the largest of several outputs is the sample's class, or one that is wanted to be 1.
bool is_right(Panels<const float> z, std::int32_t sample, const Targets& targets);
/// The same, of a sample whose largest output is known: what arg_max() gives.
bool is_right(std::int32_t guess, std::int32_t outputs, std::int32_t sample, const Targets& targets);

}  // namespace tulle
