#include <algorithm>
#include <cmath>

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
  std::int32_t best = -1;
  for (std::int32_t c = 0; c < z.features; ++c)
    if (const float value = z.at(sample, c); value == value && (best < 0 || value > z.at(sample, best)))
      best = c;
  return best;
}

bool is_right(Panels<const float> z, std::int32_t sample, const Targets& targets) {
  if (z.features < 2) return false;
  const std::int32_t guess = arg_max(z, sample);
  if (guess < 0) return false;
  if (!targets.classes.empty()) return guess == targets.classes[static_cast<std::size_t>(sample)];
  return targets.at(sample, guess, z.features) == 1.0f;
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
