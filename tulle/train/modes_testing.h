#pragma once

// For tests only: a problem that several ranks can share.

#include <cmath>
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

/// Optimizers and rules whose trainings on ranks must give the bits of one rank.
struct SyncCase {
  const char* optimizer;
  const char* rule;
  const char* update_every;
};
constexpr SyncCase kSyncCases[] = {{"set-sgd", "set", "1 epoch"}, {"adamw", "set", "1 step"},
                                   {"sgd", "rigl", "3 step"},     {"adam", "gse", "1 epoch"},
                                   {"sgd", "mest", "2 step"},     {"set-sgd", "snfs", "1 epoch"}};
inline std::string sync_case_name(const ::testing::TestParamInfo<SyncCase>& info) {
  return test_title(std::string(info.param.optimizer) + "_" + info.param.rule);
}

/// What a training told, and its bits.
struct Outcome {
  Bits bits;
  Diary diary;
};

inline Outcome outcome_of(const Config& config, const Dataset& data) {
  Outcome outcome;
  tulle::Run run = start_run(config, data);
  Signals none;
  train(run, data, nullptr, outcome.diary, none);
  outcome.bits = bits_of(run.model.network);
  return outcome;
}

inline std::vector<double> losses_of(const Diary& diary) {
  std::vector<double> losses;
  for (const EpochRecord& epoch : diary.epochs) losses.push_back(epoch.train_loss);
  return losses;
}

inline double largest_difference(Network& a, Network& b) {
  double largest = 0.0;
  const auto p = a.parameters(), q = b.parameters();
  for (std::size_t i = 0; i < p.size(); ++i) {
    if (p[i]->value.size() != q[i]->value.size()) return 1e9;
    for (std::size_t k = 0; k < p[i]->value.size(); ++k)
      largest = std::max(largest, std::abs(double{p[i]->value[k]} - q[i]->value[k]));
  }
  return largest;
}

}  // namespace tulle::testing
