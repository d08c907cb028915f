#include <algorithm>
#include <cmath>
#include <limits>

#include "tulle/nn/loss.h"

namespace tulle {

ComputeLoss cross_entropy, squared_error, binary_cross_entropy;

namespace {

// To add a loss: its file, its name above, one line here.
constexpr LossInfo kLosses[] = {
    {"cross-entropy", "softmax and negative log likelihood of the class", "Bridle 1990", cross_entropy},
    {"mse", "mean of squared differences, linear outputs", "Rumelhart et al. 1986", squared_error},
    {"bce", "sigmoid and binary cross entropy of each output (multi-label)", "Baum and Wilczek 1988",
     binary_cross_entropy},
};

}  // namespace

std::span<const LossInfo> losses() { return kLosses; }

std::int32_t arg_max(Panels<const float> z, std::int32_t sample) {
  const float* const lane = &z.at(sample, 0);
  std::int32_t best = -1;
  float largest = std::numeric_limits<float>::quiet_NaN();
  for (std::int32_t c = 0; c < z.features; ++c)
    if (const float value = lane[static_cast<std::int64_t>(c) * z.width];
        value == value && !(value <= largest)) {
      best = c;
      largest = value;
    }
  return best;
}

bool is_right(Panels<const float> z, std::int32_t sample, const Targets& targets) {
  return is_right(arg_max(z, sample), z.features, sample, targets);
}

bool is_right(std::int32_t guess, std::int32_t outputs, std::int32_t sample, const Targets& targets) {
  if (outputs < 2 || guess < 0) return false;
  if (!targets.classes.empty()) return guess == targets.classes[static_cast<std::size_t>(sample)];
  return targets.at(sample, guess, outputs) == 1.0f;
}

void predictions(std::string_view loss, Panels<const float> z, std::span<float> out) {
  for (std::int32_t b = 0; b < z.batch; ++b) {
    float* row = out.data() + static_cast<std::size_t>(b) * static_cast<std::size_t>(z.features);
    for (std::int32_t c = 0; c < z.features; ++c) row[c] = z.at(b, c);
    if (loss == "cross-entropy") {
      const float largest = *std::max_element(row, row + z.features);
      float sum = 0.0f;
      for (std::int32_t c = 0; c < z.features; ++c) sum += row[c] = std::exp(row[c] - largest);
      for (std::int32_t c = 0; c < z.features; ++c) row[c] /= sum;
    } else if (loss == "bce") {
      for (std::int32_t c = 0; c < z.features; ++c) {
        const float e = std::exp(-std::abs(row[c]));
        row[c] = row[c] >= 0.0f ? 1.0f / (1.0f + e) : e / (1.0f + e);
      }
    }
  }
}

}  // namespace tulle
