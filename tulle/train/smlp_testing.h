#pragma once

// For tests only: images that a small sMLPNet can learn, and a config for it.

#include "tulle/train/train_testing.h"

namespace tulle::testing {

/// Three patterns of 6 x 6 pixels under noise, of which a third is lit.
inline Split patterns(std::int64_t samples, std::uint64_t seed) {
  Split split;
  split.inputs = {.samples = samples, .features = 36};
  const Random random{.seed = seed, .stream = Stream::kData};
  for (std::int64_t s = 0; s < samples; ++s) {
    const auto c = static_cast<int>(s % 3);
    split.classes.push_back(c);
    for (int p = 0; p < 36; ++p) {
      const int x = p % 6, y = p / 6;
      const bool lit = c == 0 ? x / 2 == 1 : c == 1 ? y / 2 == 1 : (x / 2 + y / 2) % 3 == 0;
      const float noise = 40.0f * random.uniform(static_cast<std::uint64_t>(s * 36 + p));
      split.inputs.bytes.push_back(static_cast<std::uint8_t>((lit ? 120.0f : 20.0f) + noise));
    }
  }
  return split;
}

inline Dataset images() {
  Dataset data;
  data.train = patterns(75, 1);
  data.test = patterns(30, 2);
  data.class_names = {"columns", "rows", "diagonal"};
  data.image = {.channels = 1, .height = 6, .width = 6};
  data.scaling = fit_scaling("channel", data.train.inputs, data.image);
  return data;
}

inline Config smlp_config() {
  Config config;
  config.run.name = "small";
  config.run.preset = "smlp";
  set_config_value(config, "model.kind", "smlp");
  set_config_value(config, "model.image_size", "8");
  set_config_value(config, "model.patch", "2");
  set_config_value(config, "model.width", "8");
  set_config_value(config, "model.depths", "1,1");
  set_config_value(config, "model.drop_path", "0.1");
  set_config_value(config, "data.augment", "shift:0.17");
  set_config_value(config, "train.epochs", "12");
  set_config_value(config, "train.batch_size", "16");
  set_config_value(config, "train.learning_rate", "0.005");
  set_config_value(config, "checkpoint.save_every", "never");
  return config;
}

}  // namespace tulle::testing
