// How ranks share a training: what each mode must give, on ranks that are threads. That ranks of an MPI job
// give the same bits is tests/distributed/test_mpi.py's.
#include "tulle/train/modes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tulle/comm/comm_testing.h"
#include "tulle/train/modes_testing.h"

namespace tulle::testing {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// ---- sync

class SyncRecipe : public ::testing::TestWithParam<SyncCase> {};

TEST_P(SyncRecipe, GivesTheSameBitsForOneToSixteenRanks) {
  const Dataset data = many_data();
  Config config = config_of("sync", 1);
  config.parallel.virtual_shards = 16;
  config.train.optimizer = GetParam().optimizer;
  config.evolve.rule = GetParam().rule;
  config.evolve.update_every = GetParam().update_every;
  const Outcome one = outcome_of(config, data);
  EXPECT_FALSE(one.diary.events.empty());
  for (const int ranks : {2, 4, 8, 16}) {
    config.parallel.ranks = ranks;
    const Outcome many = outcome_of(config, data);
    EXPECT_EQ(many.bits == one.bits, true) << ranks << " ranks";
    EXPECT_EQ(losses_of(many.diary), losses_of(one.diary));
    EXPECT_EQ(many.diary.epochs.back().test_loss, one.diary.epochs.back().test_loss);
    EXPECT_EQ(many.diary.epochs.back().valid_loss, one.diary.epochs.back().valid_loss);
  }
  config.parallel.ranks = 2;
  for (config.run.threads = 2; config.run.threads <= 8; ++config.run.threads)
    EXPECT_EQ(outcome_of(config, data).bits == one.bits, true) << config.run.threads << " threads each";
}

INSTANTIATE_TEST_SUITE_P(Recipes, SyncRecipe, ::testing::ValuesIn(kSyncCases), sync_case_name);

TEST(Sync, OfSparseSamplesAndOfLayersThatLoseNeuronsGivesTheSameBitsToo) {
  Dataset data = many_data();
  Features& inputs = data.train.inputs;
  inputs.sparse.row_ptr.push_back(0);
  for (std::int64_t s = 0; s < inputs.samples; ++s) {
    for (std::int32_t f = 0; f < inputs.features; ++f) {
      if ((s + f) % 3 == 0) continue;
      inputs.sparse.columns.push_back(f);
      inputs.sparse.values.push_back(inputs.floats[static_cast<std::size_t>(s * inputs.features + f)]);
    }
    inputs.sparse.row_ptr.push_back(std::ssize(inputs.sparse.columns));
  }
  inputs.floats.clear();
  data.scaling = {};
  Config config = config_of("sync", 1);
  config.parallel.virtual_shards = 8;
  config.evolve.importance_percentile = 20.0;
  config.evolve.importance_start = 1;
  config.evolve.importance_every = "1 epoch";
  config.evolve.fold = "mean";
  const Outcome one = outcome_of(config, data);
  for (const int ranks : {2, 8})
    for (const bool shard_momentum : {false, true}) {
      config.parallel.ranks = ranks;
      config.parallel.shard_momentum = shard_momentum;
      EXPECT_EQ(outcome_of(config, data).bits == one.bits, true) << ranks << " ranks " << shard_momentum;
    }
  config.parallel.shard_momentum = false;
  for (const char* mode : {"wassp", "local-sgd"}) {
    Config other = config;
    other.parallel.mode = mode;
    other.parallel.ranks = 2;
    other.train.batch_size = 32;
    EXPECT_EQ(outcome_of(other, data).bits == outcome_of(other, data).bits, true) << mode;
  }
}

TEST(Sync, OnOneRankWithOneShardIsTrainingAlone) {
  const Dataset data = many_data();
  EXPECT_EQ(outcome_of(config_of("sync", 1), data).bits == outcome_of(config_of("none", 1), data).bits, true);
}

TEST(Sync, IsTakenWhereThereAreSeveralRanksAndNoMode) {
  const Dataset data = many_data();
  EXPECT_EQ(outcome_of(config_of("none", 2), data).bits == outcome_of(config_of("sync", 2), data).bits, true);
}

TEST(Sync, IsTakenWhereThereAreVirtualShardsAndNoMode) {
  const Dataset data = many_data();
  Config one = config_of("none", 1), two = config_of("none", 2);
  one.parallel.virtual_shards = two.parallel.virtual_shards = 16;
  EXPECT_EQ(outcome_of(one, data).bits == outcome_of(two, data).bits, true);
}

TEST(Sync, OfAnyNumberOfRanksRepeatsItselfAndStaysNearTrainingAlone) {
  const Dataset data = many_data();
  Config config = config_of("sync", 3);
  config.evolve.rule = "none";
  tulle::Run alone = start_run(config_of("none", 1), data), three = start_run(config, data);
  alone.config.evolve.rule = "none";
  Observer nobody;
  Signals none;
  train(alone, data, nullptr, nobody, none);
  train(three, data, nullptr, nobody, none);
  EXPECT_LT(largest_difference(alone.model.network, three.model.network), 1e-4);
  EXPECT_EQ(outcome_of(config, data).bits == outcome_of(config, data).bits, true);
}

TEST(Sync, ABitThatFlippedInOneRankIsFoundAtTheNextEvent) {
  const Dataset data = many_data();
  const auto thrown = on_ranks(2, [&](Communicator& comm) {
    tulle::Run run = start_run(config_of("sync", 2), data);
    Diary diary;
    diary.at_batch = [&](const Observer::Batch& batch) {
      if (comm.rank() == 1 && batch.epoch == 1 && batch.batch == 1)
        run.model.network.layer(1).weight().value[3] *= 1.0f + 0x1p-20f;
    };
    Signals none;
    train(run, data, nullptr, diary, none, comm);
  });
  EXPECT_THAT(thrown, Each(AllOf(HasSubstr("rank 1: layers.1.weight at step 2, found hash"))));
}

/// What rank 0 of two sent and received in a training without evaluations, by parallel.wire and evolve.rule.
struct SyncTraffic {
  Communicator::Traffic bytes;
  std::int64_t steps = 0, connections = 0, arrays = 0, events = 0;
};
SyncTraffic sync_traffic(const char* wire, const char* rule) {
  Dataset data = many_data();
  data.valid = data.test = {};
  Config config = config_of("sync", 2);
  config.model.hidden = {600, 600};
  config.topology.epsilon = 60.0;
  config.parallel.wire = wire;
  config.evolve.rule = rule;
  SyncTraffic found;
  on_ranks(2, [&](Communicator& comm) {
    tulle::Run run = start_run(config, data);
    Diary diary;
    Signals none;
    train(run, data, nullptr, diary, none, comm);
    if (comm.rank() == 0)
      found = {comm.traffic(), run.state.step, run.model.network.connections(),
               std::ssize(run.model.network.parameters()), std::ssize(diary.events)};
  });
  return found;
}

TEST(Sync, SendsFourBytesAConnectionEachWayOrTwoAsBf16) {
  for (const char* wire : {"f32", "bf16"}) {
    const SyncTraffic found = sync_traffic(wire, "set");
    const double values = static_cast<double>(found.connections * found.steps);
    const double limit = std::string_view(wire) == "f32" ? 4.1 : 2.06;  // biases are in it
    EXPECT_GT(found.events, 0);
    EXPECT_LT(static_cast<double>(found.bytes.sent) / values, limit);
    EXPECT_LT(static_cast<double>(found.bytes.received) / values, limit);
  }
}

TEST(Sync, OfATopologyEventSendsHashesAlone) {
  const SyncTraffic with = sync_traffic("f32", "set"), without = sync_traffic("f32", "none");
  const auto events = static_cast<std::uint64_t>(with.events);  // of layers
  const auto limit = events * 8 * static_cast<std::uint64_t>(with.arrays + 8);
  EXPECT_GT(with.bytes.sent, without.bytes.sent);
  EXPECT_LE(with.bytes.sent - without.bytes.sent, limit);
  EXPECT_LT(limit, static_cast<std::uint64_t>(with.connections) / 10);  // no room for an index each
}

TEST(Sync, GradientsThatTravelAsBf16StillLearn) {
  const Dataset data = many_data();
  Config config = config_of("sync", 2);
  config.parallel.wire = "bf16";
  config.train.batch_size = 32;
  config.train.epochs = 8;
  const Outcome outcome = outcome_of(config, data);
  EXPECT_LT(losses_of(outcome.diary).back(), 0.5 * losses_of(outcome.diary).front());
}

TEST(Sync, GoesOnFromACheckpointOnOtherNumbersOfRanksToTheSameBits) {
  const Dataset data = many_data();
  Config config = config_of("sync", 4);
  config.parallel.virtual_shards = 4;
  const Bits whole = outcome_of(config, data).bits;
  for (const int ranks : {1, 2, 4}) {
    const TemporaryDirectory folder;
    RunDirectory directory = RunDirectory::open(folder / "run", hasty_file_ops());
    tulle::Run first = start_run(config, data);
    Diary diary;
    diary.at_epoch = [](const EpochRecord&) { return false; };
    Signals signals;
    EXPECT_EQ(train(first, data, &directory, diary, signals), Ending::kStopped);
    Config other = config_of("none", ranks);  // mode and shards are the checkpoint's
    tulle::Run second = resume_run(other, data, directory.checkpoints().front().path);
    EXPECT_EQ(train(second, data, nullptr, diary, signals), Ending::kStopped);  // after another epoch
    diary.at_epoch = [](const EpochRecord&) { return true; };
    EXPECT_EQ(train(second, data, nullptr, diary, signals), Ending::kFinished);
    EXPECT_EQ(bits_of(second.model.network) == whole, true) << ranks << " ranks";
  }
}

TEST(Sync, ASignalThatReachesOneRankStopsAllAfterTheSameStep) {
  const Dataset data = many_data();
  std::vector<std::int64_t> steps(3);
  const auto thrown = on_ranks(3, [&](Communicator& comm) {
    Config config = config_of("sync", 3);
    config.train.batch_size = 16;
    tulle::Run run = start_run(config, data);
    Signals signals;
    Diary diary;
    diary.at_batch = [&](const Observer::Batch& batch) {
      if (comm.rank() == 2 && batch.batch == 4) signals.stop = true;
    };
    EXPECT_EQ(train(run, data, nullptr, diary, signals, comm), Ending::kStopped);
    steps[static_cast<std::size_t>(comm.rank())] = run.state.step;
  });
  EXPECT_THAT(thrown, Each(IsEmpty()));
  EXPECT_THAT(steps, Each(5));
}

// ---- local-sgd

TEST(LocalSgd, AveragedAfterEveryStepIsSync) {
  const Dataset data = many_data();
  Config local = config_of("local-sgd", 2), sync = config_of("sync", 2);
  for (Config* config : {&local, &sync}) {
    config->train.batch_size = 32;
    config->train.last_batch = "drop";
    config->train.optimizer = "sgd";
    config->train.momentum = 0.0;
    config->parallel.local_steps = 1;
    config->parallel.outer_rate = 1.0;
    config->parallel.outer_momentum = 0.0;
  }
  tulle::Run a = start_run(local, data), b = start_run(sync, data);
  Observer nobody;
  Signals none;
  train(a, data, nullptr, nobody, none);
  train(b, data, nullptr, nobody, none);
  EXPECT_LT(largest_difference(a.model.network, b.model.network), 1e-6);
}

TEST(LocalSgd, LearnsAndCountsEverySampleOnce) {
  const Dataset data = many_data();
  Config config = config_of("local-sgd", 3);
  config.train.batch_size = 48;
  config.train.epochs = 12;
  config.train.learning_rate = 0.02;
  config.parallel.local_steps = 4;
  config.parallel.outer_rate = 1.0;
  config.parallel.outer_momentum = 0.5;
  tulle::Run run = start_run(config, data);
  Diary diary;
  Signals none;
  train(run, data, nullptr, diary, none);
  EXPECT_EQ(run.state.samples, 300);
  EXPECT_LT(losses_of(diary).back(), 0.5 * losses_of(diary).front());
}

TEST(LocalSgd, GoesOnFromACheckpointToTheSameBits) {
  const Dataset data = many_data();
  Config config = config_of("local-sgd", 2);
  config.train.batch_size = 32;
  config.parallel.local_steps = 3;
  config.checkpoint.save_every = "1 step";
  const Bits whole = outcome_of(config, data).bits;
  const TemporaryDirectory folder;
  RunDirectory directory = RunDirectory::open(folder / "run", hasty_file_ops());
  tulle::Run first = start_run(config, data);
  Diary diary;
  Signals signals;
  diary.at_batch = [&](const Observer::Batch& batch) {
    if (batch.epoch == 2 && batch.batch == 4) signals.stop = true;
  };
  EXPECT_EQ(train(first, data, &directory, diary, signals), Ending::kStopped);
  for (const CheckpointFile& checkpoint : directory.checkpoints())
    EXPECT_TRUE(checkpoint.step % 3 == 0 || checkpoint.step % 10 == 0) << checkpoint.step;
  tulle::Run second = resume_run(config, data, directory.checkpoints().front().path);
  Signals none;
  Observer nobody;
  EXPECT_EQ(train(second, data, nullptr, nobody, none), Ending::kFinished);
  EXPECT_EQ(bits_of(second.model.network) == whole, true);
}

TEST(Modes, RefuseWhatTheyHaveNoFormOf) {
  const auto refusal = [](std::string_view mode, const std::function<void(Config&)>& change) -> std::string {
    Config config = config_of(mode, 2);
    change(config);
    try {
      (void)mode_of(config, 2);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kConfig);
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(refusal("wassp", [](Config& c) { c.model.kind = "smlp"; }),
              HasSubstr("model.kind, found smlp"));
  EXPECT_THAT(refusal("sync",
                      [](Config& c) {
                        c.model.kind = "smlp";
                        c.parallel.virtual_shards = 16;
                      }),
              HasSubstr("parallel.virtual_shards, found 16, expected 0 of images"));
  EXPECT_THAT(refusal("local-sgd", [](Config& c) { c.parallel.shard_momentum = true; }),
              HasSubstr("parallel.shard_momentum, found true, expected false with parallel.mode"));
  EXPECT_THAT(refusal("local-sgd", [](Config& c) { c.evolve.update_every = "3 step"; }),
              HasSubstr("a multiple of parallel.local_steps"));
  EXPECT_THAT(refusal("wasap", [](Config& c) { c.train.early_stopping = 2; }), HasSubstr("early_stopping"));
  EXPECT_THAT(refusal("wassp", [](Config& c) { c.train.schedule = "plateau"; }), HasSubstr("schedule"));
  EXPECT_THAT(refusal("wasap", [](Config& c) { c.evolve.stable_events = 3; }),
              HasSubstr("evolve.stable_events, found 3, expected 0"));
  EXPECT_THAT(refusal("local-sgd", [](Config& c) { c.evolve.rule = "snfs"; }),
              HasSubstr("evolve.grow, found 'momentum'"));
  EXPECT_EQ(refusal("sync", [](Config&) {}), "");
}

TEST(Evaluation, OfSeveralRanksTogetherIsThatOfOneBitForBit) {
  Dataset data = many_data();
  data.test = blobs(1700, 9);
  tulle::Run run = start_run(config_of("none", 1), data);
  const Evaluation wanted = evaluate(run.model, data.test);
  on_ranks(3, [&](Communicator& comm) {
    tulle::Run own = start_run(config_of("none", 1), data);
    const Evaluation found = evaluate(own.model, data.test, comm);
    EXPECT_EQ(found.loss, wanted.loss);
    EXPECT_EQ(found.accuracy, wanted.accuracy);
    EXPECT_EQ(found.samples, 1700);
    EXPECT_EQ(found.confusion, wanted.confusion);
  });
}

}  // namespace
}  // namespace tulle::testing
