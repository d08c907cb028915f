// parallel.shard_momentum: what ranks keep of the optimizer's state, and that nothing else changes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tulle/comm/comm_testing.h"
#include "tulle/train/modes_testing.h"

namespace tulle::testing {
namespace {

using ::testing::Each;
using ::testing::IsEmpty;

class SharedMomentumOfRecipes : public ::testing::TestWithParam<SyncCase> {};

TEST_P(SharedMomentumOfRecipes, GivesTheBitsOfWholeMomentum) {
  const Dataset data = many_data();
  Config config = config_of("sync", 4);
  config.train.optimizer = GetParam().optimizer;
  config.evolve.rule = GetParam().rule;
  config.evolve.update_every = GetParam().update_every;
  for (const double clip_norm : {0.0, 0.5}) {
    config.train.clip_norm = clip_norm;
    for (const char* wire : {"f32", "bf16"}) {
      config.parallel.wire = wire;
      config.parallel.shard_momentum = false;
      const Outcome whole = outcome_of(config, data);
      config.parallel.shard_momentum = true;
      EXPECT_EQ(outcome_of(config, data).bits == whole.bits, true) << wire << ", clip_norm " << clip_norm;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Recipes, SharedMomentumOfRecipes, ::testing::ValuesIn(kSyncCases), sync_case_name);

TEST(SharedMomentum, IsSeenByRulesThatLookAhead) {
  const Dataset data = many_data();
  Config config = config_of("sync", 3);
  config.evolve.drop = "momentum";
  config.evolve.grow = "random";
  const Outcome whole = outcome_of(config, data);
  EXPECT_FALSE(whole.diary.events.empty());
  config.parallel.shard_momentum = true;
  EXPECT_EQ(outcome_of(config, data).bits == whole.bits, true);
}

TEST(SharedMomentum, IsAnNthOnEachRankBetweenSteps) {
  const Dataset data = many_data();
  const auto thrown = on_ranks(3, [&](Communicator& comm) {
    Config config = config_of("sync", 3);
    config.train.optimizer = "adam";
    config.parallel.shard_momentum = true;
    tulle::Run run = start_run(config, data);
    Diary diary;
    diary.at_batch = [&](const Observer::Batch&) {
      for (const Parameter* parameter : run.model.network.parameters()) {
        const auto all = static_cast<std::int64_t>(parameter->value.size());
        const Range own = even_range(all, 3, comm.rank());
        for (const auto* state : {&parameter->m1, &parameter->m2})
          EXPECT_EQ(std::ssize(*state), own.end - own.begin) << parameter->name;
        EXPECT_EQ(std::ssize(parameter->age), own.end - own.begin) << parameter->name;
      }
    };
    Signals none;
    train(run, data, nullptr, diary, none, comm);
  });
  EXPECT_THAT(thrown, Each(IsEmpty()));
}

TEST(SharedMomentum, IsWholeInCheckpointsWhichGoOnOnAnyNumberOfRanks) {
  const Dataset data = many_data();
  Config config = config_of("sync", 4);
  config.parallel.virtual_shards = 4;
  config.train.optimizer = "adamw";
  config.train.batch_size = 64;
  config.train.ema_decay = 0.9;
  config.checkpoint.save_every = "3 step";
  config.checkpoint.keep = 100;
  const Bits whole = outcome_of(config, data).bits;
  const TemporaryDirectory folder;
  const auto saved = [&](const Config& of, const std::string& name) {
    RunDirectory directory = RunDirectory::open(folder / name, hasty_file_ops());
    tulle::Run run = start_run(of, data);
    Observer nobody;
    Signals none;
    EXPECT_EQ(train(run, data, &directory, nobody, none), Ending::kFinished);
    return directory.checkpoints();
  };
  const auto wanted = saved(config, "whole");
  config.parallel.shard_momentum = true;
  const auto found = saved(config, "shared");
  ASSERT_EQ(found.size(), wanted.size());
  ASSERT_GT(found.size(), 3u);
  for (std::size_t i = 0; i < found.size(); ++i) {
    LoadedModel a = load_model(wanted[i].path), b = load_model(found[i].path);
    EXPECT_EQ(bits_of(a.model.network) == bits_of(b.model.network), true) << found[i].path;
  }
  for (const int ranks : {1, 2, 4}) {
    config.parallel.ranks = ranks;
    EXPECT_EQ(trained(resume_run(config, data, found[found.size() / 2].path), data) == whole, true)
        << ranks << " ranks";
  }
}

TEST(SharedMomentum, IsSavedWithAllWhenOneRankIsAskedTo) {
  const Dataset data = many_data();
  const TemporaryDirectory folder;
  RunDirectory directory = RunDirectory::open(folder / "run", hasty_file_ops());
  Diary diary;
  const auto thrown = on_ranks(2, [&](Communicator& comm) {
    Config config = config_of("sync", 2);
    config.parallel.shard_momentum = true;
    tulle::Run run = start_run(config, data);
    Diary own;
    Signals signals;
    own.at_batch = [&](const Observer::Batch& batch) {
      if (comm.rank() == 0 && batch.epoch == 2 && batch.batch == 1) signals.save = true;
    };
    train(run, data, comm.rank() == 0 ? &directory : nullptr, own, signals, comm);
    if (comm.rank() == 0) diary = own;
  });
  EXPECT_THAT(thrown, Each(IsEmpty()));
  ASSERT_EQ(diary.saves.size(), 2u);  // and the end
  EXPECT_EQ(diary.saves.front().step, 3);
}

}  // namespace
}  // namespace tulle::testing
