#include "tulle/train/train.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "tulle/base/error.h"
#include "tulle/base/file_ops_testing.h"
#include "tulle/base/parallel.h"
#include "tulle/train/train_testing.h"

namespace tulle {
namespace {

using testing::Finished;
using testing::small_config;
using testing::small_dataset;
using testing::state_of;
using testing::TemporaryDirectory;
using testing::train_whole;
using testing::Witness;

TEST(Train, LearnsWhatCanBeLearnt) {
  Config config = small_config();
  config.train.epochs = 40;
  const Finished finished = train_whole(config, small_dataset());
  EXPECT_EQ(finished.ending, Ending::kFinished);
  ASSERT_EQ(finished.witness.epochs.size(), 40u);
  EXPECT_GT(finished.witness.epochs.back().test_accuracy.value_or(0), 0.85);
  EXPECT_LT(finished.witness.epochs.back().train_loss, 0.5 * finished.witness.epochs.front().train_loss);
}

class TrainWith : public ::testing::TestWithParam<OptimizerInfo> {
 protected:
  Config config() const {
    Config config = small_config();
    config.train.optimizer = std::string(GetParam().name);
    return config;
  }
};

TEST_P(TrainWith, GivesTheSameBitsForAnyNumberOfThreads) {
  for (const bool dense : {false, true}) {
    Config config = this->config();
    config.train.epochs = 3;
    if (dense) config.topology.distribution = "uniform", config.topology.density = 1.0;
    std::string first;
    for (int threads = 1; threads <= 8; ++threads) {
      set_thread_count(threads);
      Finished finished = train_whole(config, small_dataset());
      if (first.empty()) first = state_of(finished.run);
      EXPECT_TRUE(state_of(finished.run) == first) << threads << " threads, dense " << dense;
    }
    set_thread_count(0);
  }
}

// Stops after every possible batch in turn (of each optimizer but the first only in the middle of an epoch,
// at its end and late), and goes on from the checkpoint with another number of threads.
TEST_P(TrainWith, ResumedAfterAnyStepEqualsATrainingThatWasNeverStopped) {
  const Dataset data = small_dataset();
  for (const char* update_every : {"1 epoch", "3 step"}) {
    Config config = this->config();
    config.evolve.update_every = update_every;
    config.train.schedule = "cosine";
    Finished whole = train_whole(config, data);
    for (std::int64_t stop = 1; stop < 25; ++stop) {
      if (GetParam().name != optimizers().front().name && stop != 3 && stop != 5 && stop != 19) continue;
      const TemporaryDirectory folder;
      RunDirectory directory = RunDirectory::open(folder.path(), {});
      tulle::Run run = start_run(config, data);
      Signals signals;
      Witness witness;
      witness.signals = &signals;
      witness.stop_after = stop;
      set_thread_count(2);
      ASSERT_EQ(train(run, data, &directory, witness, signals), Ending::kStopped);
      std::vector<std::string> skipped;
      const auto checkpoint = newest_checkpoint(folder.path(), skipped);
      ASSERT_TRUE(checkpoint.has_value());
      tulle::Run resumed = resume_run(config, data, *checkpoint);
      EXPECT_EQ(resumed.state.step, stop);
      Signals quiet;
      Witness rest;
      set_thread_count(3);
      ASSERT_EQ(train(resumed, data, nullptr, rest, quiet), Ending::kFinished);
      set_thread_count(0);
      ASSERT_TRUE(state_of(resumed) == state_of(whole.run)) << "stopped after step " << stop;
      // The record of the epoch that was cut in two is the whole epoch's.
      const EpochRecord& now = rest.epochs.back();
      const EpochRecord& then = whole.witness.epochs.back();
      EXPECT_EQ(now.train_loss, then.train_loss);
      EXPECT_EQ(now.test_accuracy, then.test_accuracy);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Optimizers, TrainWith, ::testing::ValuesIn(optimizers().begin(), optimizers().end()),
                         [](const auto& info) {
                           std::string name(info.param.name);
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(Train, AnotherSeedGivesAnotherNetwork) {
  Config config = small_config();
  Finished one = train_whole(config, small_dataset());
  config.run.seed = 2;
  Finished two = train_whole(config, small_dataset());
  EXPECT_FALSE(state_of(one.run) == state_of(two.run));
}

TEST(Train, StopsWithinOneBatchWhenItDivergesAndKeepsTheCheckpoint) {
  const TemporaryDirectory folder;
  const Dataset data = small_dataset();
  Config config = small_config();
  config.checkpoint.save_every = "1 step";
  config.train.learning_rate = 1e30;
  RunDirectory directory = RunDirectory::open(folder.path(), {});
  tulle::Run run = start_run(config, data);
  Signals signals;
  Witness witness;
  try {
    train(run, data, &directory, witness, signals);
    FAIL() << "went on";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kDiverged);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("epoch 1, batch"));
    EXPECT_THAT(error.what(), ::testing::HasSubstr("train.learning_rate"));
  }
  EXPECT_LE(witness.batches.size(), 3u);
  for (const CheckpointRecord& saved : witness.checkpoints)  // only finite weights were saved
    for (const Parameter* p : load_model(saved.path).model.network.parameters())
      for (const float value : p->value) ASSERT_TRUE(std::isfinite(value));
}

TEST(Train, UsesTheIncompleteLastBatchOrDropsItAsAsked) {
  Config config = small_config();
  config.train.epochs = 1;
  const Finished kept = train_whole(config, small_dataset());
  EXPECT_EQ(kept.witness.batches.size(), 5u);  // 70 samples by 16
  EXPECT_EQ(kept.run.state.step, 5);
  config.train.last_batch = "drop";
  const Finished dropped = train_whole(config, small_dataset());
  EXPECT_EQ(dropped.witness.batches.size(), 4u);
}

TEST(Train, EvolvesAfterEveryEpochButTheLast) {
  const Finished finished = train_whole(small_config(), small_dataset());
  std::vector<int> epochs;
  for (const EvolveRecord& event : finished.witness.events)
    if (event.layer == 0) epochs.push_back(event.epoch);
  EXPECT_EQ(epochs, (std::vector<int>{1, 2, 3, 4}));
}

TEST(Train, LeavesTheTopologyAloneFromTheAskedShareOn) {
  Config config = small_config();
  config.evolve.stop_after = 0.6;
  const Finished finished = train_whole(config, small_dataset());
  int last = 0;
  for (const EvolveRecord& event : finished.witness.events) last = std::max(last, event.epoch);
  EXPECT_EQ(last, 2) << "no event at 3 of 5 epochs or later";
}

TEST(Train, KeepsTheNumberOfConnections) {
  const Config config = small_config();
  const Dataset data = small_dataset();
  tulle::Run run = start_run(config, data);
  const std::int64_t before = run.model.network.connections();
  const Finished finished = train_whole(config, data);
  for (const EpochRecord& epoch : finished.witness.epochs) EXPECT_EQ(epoch.nnz, before);
}

TEST(Train, MeasuresTheNetworkBeforeItEvolves) {
  // With the topology event of the only other epoch left out, the first epoch's figures are the same.
  Config config = small_config();
  config.evolve.zeta = 1.0;
  const Finished evolving = train_whole(config, small_dataset());
  config.evolve.rule = "none";
  const Finished fixed = train_whole(config, small_dataset());
  EXPECT_EQ(evolving.witness.epochs[0].test_loss, fixed.witness.epochs[0].test_loss);
  EXPECT_NE(evolving.witness.epochs[1].test_loss, fixed.witness.epochs[1].test_loss);
}

TEST(Train, EndsWhenTheObserverSaysSoWithACheckpoint) {
  const TemporaryDirectory folder;
  const Dataset data = small_dataset();
  RunDirectory directory = RunDirectory::open(folder.path(), {});
  tulle::Run run = start_run(small_config(), data);
  Signals signals;
  Witness witness;
  witness.last_epoch = 2;
  EXPECT_EQ(train(run, data, &directory, witness, signals), Ending::kStopped);
  EXPECT_EQ(run.state.epoch, 2);
  ASSERT_EQ(list_checkpoints(folder.path()).size(), 1u);
  EXPECT_EQ(list_checkpoints(folder.path())[0].step, 10);
}

TEST(Train, SavesWhenItIsAskedToAndGoesOn) {
  const TemporaryDirectory folder;
  const Dataset data = small_dataset();
  RunDirectory directory = RunDirectory::open(folder.path(), {});
  tulle::Run run = start_run(small_config(), data);
  Signals signals;
  signals.save = true;
  Witness witness;
  EXPECT_EQ(train(run, data, &directory, witness, signals), Ending::kFinished);
  ASSERT_EQ(witness.checkpoints.size(), 2u);
  EXPECT_EQ(witness.checkpoints[0].step, 1);
  EXPECT_EQ(witness.checkpoints[1].step, 25) << "the end is always saved";
}

TEST(Train, KeepsAsManyCheckpointsAsAsked) {
  const TemporaryDirectory folder;
  const Dataset data = small_dataset();
  Config config = small_config();
  config.checkpoint.save_every = "2 step";
  config.checkpoint.keep = 3;
  RunDirectory directory = RunDirectory::open(folder.path(), {});
  tulle::Run run = start_run(config, data);
  Signals signals;
  Witness witness;
  train(run, data, &directory, witness, signals);
  std::vector<std::int64_t> steps;
  for (const CheckpointFile& file : list_checkpoints(folder.path())) steps.push_back(file.step);
  EXPECT_EQ(steps, (std::vector<std::int64_t>{25, 24, 22}));
}

TEST(Train, AZeroWeightStaysAConnectionThroughAThousandSteps) {
  Config config = small_config();
  config.evolve.rule = "none";
  config.topology.weight_init = "zero";  // nothing ever learns: all weights stay 0
  config.train.epochs = 200;
  const Dataset data = small_dataset();
  tulle::Run run = start_run(config, data);
  const Topology before = *run.model.network.layer(0).topology();
  const Finished finished = train_whole(config, data);
  EXPECT_EQ(finished.run.state.step, 1000);
  EXPECT_EQ(*finished.run.model.network.layer(0).topology(), before);
  EXPECT_EQ(finished.run.model.network.layer(0).weight().value[0], 0.0f);
}

}  // namespace
}  // namespace tulle
