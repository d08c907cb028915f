// sMLPNets on several ranks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tulle/comm/comm_testing.h"
#include "tulle/train/modes_testing.h"
#include "tulle/train/smlp_testing.h"

namespace tulle::testing {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Config on(std::string_view mode, int ranks, std::int64_t epochs = 3) {
  Config config = smlp_config();
  set_config_value(config, "topology.density", "0.4");
  set_config_value(config, "topology.distribution", "uniform");
  config.data.augment = {"shift:0.17", "mixup:0.4"};
  config.train.epochs = epochs;
  config.train.batch_size = 25;
  config.run.threads = 1;
  config.parallel.mode = mode;
  config.parallel.ranks = ranks;
  finish_config(config);
  return config;
}

double array_difference(const std::vector<NamedArray>& a, const std::vector<NamedArray>& b) {
  double largest = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i)
    for (std::size_t k = 0; k < a[i].values->size(); ++k)
      largest = std::max(largest, std::abs(double{(*a[i].values)[k]} - double{(*b[i].values)[k]}));
  return largest;
}

// Batches of 25 in two and three parts of unequal size.
TEST(SmlpOnRanks, StaysNearTrainingAloneRunningStatisticsToo) {
  const Dataset data = images();
  Config config = on("none", 1);
  config.train.epochs = 2;
  config.evolve.rule = "none";  // a weight that is a little off would be another event
  config.evolve.importance_percentile = 20.0;
  config.evolve.importance_start = 1;
  tulle::Run alone = start_run(config, data);
  Diary diary;
  Signals none;
  train(alone, data, nullptr, diary, none);
  for (const int ranks : {2, 3, 4}) {
    config.parallel.mode = "sync";
    config.parallel.ranks = ranks;
    tulle::Run shared = start_run(config, data);
    Diary other;
    train(shared, data, nullptr, other, none);
    EXPECT_LT(largest_difference(alone.model.network, shared.model.network), 1e-3) << ranks;
    EXPECT_LT(array_difference(alone.model.network.architecture()->arrays(),
                               shared.model.network.architecture()->arrays()),
              1e-3)
        << ranks;
    EXPECT_NEAR(other.epochs.back().train_loss, diary.epochs.back().train_loss, 1e-3);
    EXPECT_EQ(other.epochs.back().step, diary.epochs.back().step);
  }
}

class EverySmlpMode : public ::testing::TestWithParam<const char*> {};

TEST_P(EverySmlpMode, EndsWithTheSameBitsOnAllRanksAndEveryTime) {
  const Dataset data = images();
  for (const char* rule : {"set", "rigl"}) {
    Config config = on(GetParam(), 3);
    config.evolve.rule = rule;
    config.evolve.importance_percentile = 20.0;
    config.evolve.importance_start = 1;
    config.evolve.importance_every = "1 epoch";
    config.parallel.local_steps = 2;
    Bits bits[2][3];
    for (auto& time : bits) {
      const auto thrown = on_ranks(3, [&](Communicator& comm) {
        tulle::Run run = start_run(config, data);
        Observer nobody;
        Signals none;
        train(run, data, nullptr, nobody, none, comm);
        Bits& own = time[comm.rank()];
        own = bits_of(run.model.network);
        for (const NamedArray& array : run.model.network.architecture()->arrays())
          own[array.name] = std::string(reinterpret_cast<const char*>(array.values->data()),
                                        array.values->size() * sizeof(float));
      });
      EXPECT_THAT(thrown, Each(IsEmpty()));
    }
    for (const auto& time : bits)
      for (const Bits& own : time) EXPECT_EQ(own == bits[0][0], true) << rule;
    // Ranks that are threads of one process are copies of one network.
    EXPECT_EQ(outcome_of(config, data).bits == outcome_of(config, data).bits, true);
  }
}

TEST_P(EverySmlpMode, ResumesAsIfItHadNeverStopped) {
  const Dataset data = images();
  for (const bool shard_momentum : {false, true}) {
    if (shard_momentum && std::string_view(GetParam()) != "sync") continue;
    Config config = on(GetParam(), 2);
    config.train.ema_decay = std::string_view(GetParam()) == "sync" ? 0.9 : 0.0;
    config.parallel.local_steps = 2;
    config.parallel.shard_momentum = shard_momentum;
    const Bits whole = outcome_of(config, data).bits;
    const TemporaryDirectory folder;
    RunDirectory directory = RunDirectory::open(folder / "run", hasty_file_ops());
    tulle::Run first = start_run(config, data);
    Diary diary;
    Signals signals;
    diary.at_batch = [&](const Observer::Batch& batch) {
      signals.stop = batch.epoch == 2 && batch.batch == 2;
    };
    EXPECT_EQ(train(first, data, &directory, diary, signals), Ending::kStopped);
    EXPECT_EQ(trained(resume_run(config, data, directory.checkpoints().front().path), data) == whole, true)
        << shard_momentum;
  }
}

TEST_P(EverySmlpMode, LearnsToTellPatternsApart) {
  const Dataset data = images();
  Config config = on(GetParam(), 2, 40);
  config.data.augment = {"shift:0.17"};
  config.parallel.local_steps = 2;
  config.parallel.outer_rate = 1.0;
  config.parallel.outer_momentum = 0.0;
  tulle::Run run = start_run(config, data);
  Observer nobody;
  Signals none;
  train(run, data, nullptr, nobody, none);
  EXPECT_GT(evaluate(run.model, data.test).accuracy, 0.9);
}

INSTANTIATE_TEST_SUITE_P(Modes, EverySmlpMode, ::testing::Values("sync", "local-sgd"),
                         [](const auto& info) { return test_title(info.param); });

TEST(SmlpOnRanks, ABatchTooSmallForAllRanksIsRefused) {
  const Dataset data = images();
  Config config = on("sync", 3);
  config.train.batch_size = 37;  // 75 samples: the last batch has one
  try {
    (void)outcome_of(config, data);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfig);
    EXPECT_THAT(error.what(), HasSubstr("train.batch_size, found 37, expected one of which every batch"));
  }
  config.train.last_batch = "drop";
  EXPECT_EQ(outcome_of(config, data).diary.epochs.size(), 3u);
}

}  // namespace
}  // namespace tulle::testing
