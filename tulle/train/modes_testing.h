#pragma once

// For tests only: a problem that several ranks can share.

#include <string_view>

#include "tulle/train/train_testing.h"

namespace tulle::testing {

/// At batch size 256 a whole batch and one that only three shards of 16 get anything of.
inline Dataset many_data() {
  Dataset data = small_data();
  data.train = blobs(300, 1);
  data.valid = blobs(30, 3);
  data.scaling = fit_scaling("standard", data.train.inputs);
  return data;
}

inline Config config_of(std::string_view mode, int ranks) {
  Config config = small_config();
  config.run.threads = 1;
  config.train.batch_size = 256;
  config.checkpoint.best = "last";
  config.parallel.mode = mode;
  config.parallel.ranks = ranks;
  config.parallel.lr_scale = "none";
  return config;
}

}  // namespace tulle::testing
