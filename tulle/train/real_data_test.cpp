// What the presets reach on Fashion-MNIST.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tulle/data/load.h"
#include "tulle/train/train_testing.h"

namespace tulle::testing {
namespace {

class RealTraining : public RealFiles {
 protected:
  void SetUp() override { need("/usr/share/datasets/fashion-mnist"); }

  static double accuracy(const std::string& preset, std::int64_t epochs, std::int64_t seed,
                         const Dataset& data) {
    Config config;
    config.data.format = "fashion-mnist";
    config.run.preset = preset;
    config.run.seed = seed;
    config.train.epochs = epochs;
    finish_config(config);
    tulle::Run run = start_run(config, data);
    Diary diary;
    Signals none;
    train(run, data, nullptr, diary, none);
    return *diary.epochs.back().test_accuracy;
  }
  static Dataset fashion_mnist() { return load_dataset({.format = "fashion-mnist"}); }
};

TEST_F(RealTraining, OneEpochOfThePublishedRecipeReachesThePublishedAccuracy) {
  // Over 24 seeds: mean 61.3 %, standard deviation of one seed 2.3 %. A mean of 5 lies within 3 of its own
  // standard deviations of that; the published code, one seed, reached 58.3 %.
  constexpr int kSeeds = 5;
  const double allowed = 3.0 * 2.3 * std::sqrt(1.0 / kSeeds + 1.0 / 24.0);
  const Dataset data = fashion_mnist();
  double mean = 0.0;
  for (int seed = 1; seed <= kSeeds; ++seed) mean += 100.0 * accuracy("published", 1, seed, data) / kSeeds;
  EXPECT_NEAR(mean, 61.3, allowed);
}

TEST_F(RealTraining, TwoEpochsOfTheModernRecipeReachEightyFivePercent) {
  EXPECT_GT(accuracy("modern", 2, 1, fashion_mnist()), 0.85);
}

}  // namespace
}  // namespace tulle::testing
