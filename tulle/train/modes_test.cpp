// How ranks share a training: what each mode must give, on ranks that are threads. That ranks of an MPI job
// give the same bits is tests/distributed/test_mpi.py's.
#include "tulle/train/modes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tulle/comm/comm_testing.h"
#include "tulle/data/loader.h"
#include "tulle/evolve/evolve.h"
#include "tulle/train/modes_testing.h"

namespace tulle::testing {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Bits without_momentum(Bits bits) {
  std::erase_if(bits, [](const auto& entry) {
    return entry.first.ends_with(".m1") || entry.first.ends_with(".m2") || entry.first.ends_with(".age");
  });
  return bits;
}

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
  config.run.threads = 3;
  EXPECT_EQ(outcome_of(config, data).bits == one.bits, true) << "3 threads each";
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

TEST(Sync, SendsAboutFourBytesAConnectionEachWayOrTwoAsBf16) {
  const Dataset data = many_data();
  for (const char* wire : {"f32", "bf16"})
    on_ranks(2, [&](Communicator& comm) {
      Config config = config_of("sync", 2);
      config.model.hidden = {600, 600};
      config.topology.epsilon = 30.0;
      config.parallel.wire = wire;
      tulle::Run run = start_run(config, data);
      Observer nobody;
      Signals none;
      train(run, data, nullptr, nobody, none, comm);
      const double values = static_cast<double>(run.model.network.connections() * run.state.step);
      const double limit =
          std::string_view(wire) == "f32" ? 4.2 : 2.2;  // biases and six evaluations are in it
      EXPECT_LT(static_cast<double>(comm.traffic().sent) / values, limit);
      EXPECT_LT(static_cast<double>(comm.traffic().received) / values, limit);
    });
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

// ---- wasap and wassp

TEST(Wasap, OfOneWorkerIsTrainingAloneBitForBit) {
  const Dataset data = many_data();
  for (const double phase1 : {1.0, 0.7, 0.0}) {
    Config config = config_of("wasap", 1), alone = config_of("none", 1);
    config.parallel.phase1 = phase1;
    config.train.epochs = alone.train.epochs = 4;
    config.train.batch_size = alone.train.batch_size = 16;
    const Outcome worker = outcome_of(config, data), sequential = outcome_of(alone, data);
    EXPECT_EQ(losses_of(worker.diary), losses_of(sequential.diary));
    EXPECT_FALSE(worker.diary.events.empty());
    // The average at the end forgets momentum.
    if (phase1 == 1.0)
      EXPECT_EQ(worker.bits == sequential.bits, true);
    else
      EXPECT_EQ(without_momentum(worker.bits) == without_momentum(sequential.bits), true) << phase1;
  }
}

TEST(Wasap, WorkerAfterWorkerIsReproducible) {
  const Dataset data = many_data();
  Config config = config_of("wasap", 3);
  config.train.batch_size = 16;
  config.parallel.order = "round-robin";
  const Bits first = outcome_of(config, data).bits;
  for (int again = 0; again < 4; ++again) EXPECT_EQ(outcome_of(config, data).bits == first, true);
}

TEST(Wasap, StaleGradientsCanBeThrownAwayOrSlowedDown) {
  const Dataset data = many_data();
  Config config = config_of("wasap", 3);
  config.train.batch_size = 16;
  config.train.epochs = 2;
  config.parallel.phase1 = 1.0;
  config.parallel.order = "round-robin";
  const Outcome all = outcome_of(config, data);
  config.parallel.staleness_lr = true;
  EXPECT_EQ(outcome_of(config, data).bits == all.bits, false);
  config.parallel.staleness_lr = false;
  config.parallel.max_staleness = 1;  // that of a third worker is 2
  const Outcome some = outcome_of(config, data);
  EXPECT_EQ(some.bits == all.bits, false);
  EXPECT_EQ(some.diary.epochs.back().step, all.diary.epochs.back().step);
}

class BothPhases : public ::testing::TestWithParam<const char*> {};

TEST_P(BothPhases, LearnAndEndWithTheConnectionsOfTheirParting) {
  const Dataset data = many_data();
  Config config = config_of(GetParam(), 3);
  config.train.batch_size = 16;
  config.train.epochs = 10;
  config.train.learning_rate = 0.02;
  for (const char* resparsify : {"magnitude", "published"}) {
    config.parallel.resparsify = resparsify;
    tulle::Run run = start_run(config, data);
    const std::int64_t before = run.model.network.connections();
    Observer nobody;
    Signals none;
    ASSERT_EQ(train(run, data, nullptr, nobody, none), Ending::kFinished);
    if (std::string_view(resparsify) == "magnitude")
      EXPECT_EQ(run.model.network.connections(), before);
    else
      EXPECT_NEAR(static_cast<double>(run.model.network.connections()), static_cast<double>(before), 3 * 3);
    EXPECT_GE(evaluate(run.model, data.test).accuracy, 0.95);
    EXPECT_EQ(run.state.epoch, 10);
  }
}

// A worker that learns alone from the beginning is the same as a training that knows of no other.
TEST_P(BothPhases, LeaveReplicasAloneInTheSecond) {
  const Dataset data = many_data();
  Config config = config_of(GetParam(), 2);
  config.train.batch_size = 16;
  config.train.epochs = 3;
  config.parallel.phase1 = 0.0;
  Bits replica;
  const auto thrown = on_ranks(2, [&](Communicator& comm) {
    tulle::Run run = start_run(config, data);
    Observer nobody;
    Signals none;
    train(run, data, nullptr, nobody, none, comm);
    if (comm.rank() == 1) replica = bits_of(run.model.network);
  });
  EXPECT_THAT(thrown, Each(IsEmpty()));

  tulle::Run alone = start_run(config, data);
  Replica worker(alone, data);
  Loader loader = worker.make_loader({.worker = 1, .workers = 2});
  const Evolution evolution = evolution_of(config);
  for (int epoch = 0; epoch < 3; ++epoch) {
    loader.start_epoch(epoch, true);
    for (std::int64_t b = 0; b < loader.batches(); ++b) {
      const Batch batch = worker.get(loader, b);
      worker.learn(batch, {.training = true,
                           .seed = alone.model.seed,
                           .step = static_cast<std::uint32_t>(alone.state.step++),
                           .worker = 1});
      worker.step(config.train.learning_rate);
    }
    if (epoch < 2)
      evolve(alone.model.network, evolution,
             {.seed = alone.model.seed + 0x9e3779b97f4a7c15u,
              .step = static_cast<std::uint32_t>(alone.state.step),
              .zeta = config.evolve.zeta,
              .learning_rate = config.train.learning_rate,
              .optimizer = &worker.optimizer()});
  }
  EXPECT_EQ(replica == bits_of(alone.model.network), true);
}

TEST_P(BothPhases, StoppedInTheSecondGoOnFromTheParting) {
  const Dataset data = many_data();
  Config config = config_of(GetParam(), 2);
  config.train.batch_size = 16;
  config.train.epochs = 4;
  config.parallel.phase1 = 0.5;
  config.parallel.order = "round-robin";
  config.checkpoint.save_every = "1 epoch";
  const Bits whole = outcome_of(config, data).bits;
  const TemporaryDirectory folder;
  RunDirectory directory = RunDirectory::open(folder / "run", hasty_file_ops());
  tulle::Run first = start_run(config, data);
  Diary diary;
  Signals signals;
  diary.at_epoch = [&](const EpochRecord& record) {
    if (record.epoch == 3) signals.stop = true;
    return true;
  };
  EXPECT_EQ(train(first, data, &directory, diary, signals), Ending::kStopped);
  tulle::Run second = resume_run(config, data, directory.checkpoints().front().path);
  EXPECT_EQ(second.state.epoch, 2);
  Signals none;
  Observer nobody;
  EXPECT_EQ(train(second, data, nullptr, nobody, none), Ending::kFinished);
  EXPECT_EQ(bits_of(second.model.network) == whole, true);
}

INSTANTIATE_TEST_SUITE_P(Modes, BothPhases, ::testing::Values("wasap", "wassp"),
                         [](const auto& info) { return std::string(info.param); });

// Two batches of 16, one from each worker's shard, are a batch of 32.
TEST(Wassp, OfTwoWorkersIsTrainingAloneWithTheirBatchesAsOne) {
  const Dataset data = many_data();
  Config config = config_of("wassp", 2);
  config.model.dropout = 0.0;
  config.train.batch_size = 16;
  config.train.last_batch = "drop";
  config.train.epochs = 2;
  config.evolve.rule = "none";
  config.parallel.phase1 = 1.0;
  tulle::Run shared = start_run(config, data);
  Observer nobody;
  Signals none;
  train(shared, data, nullptr, nobody, none);

  tulle::Run alone = start_run(config, data);
  Replica replica(alone, data);
  std::vector<Loader> loaders;
  for (int worker = 0; worker < 2; ++worker)
    loaders.push_back(replica.make_loader({.worker = worker, .workers = 2}));
  for (int epoch = 0; epoch < 2; ++epoch) {
    for (Loader& loader : loaders) loader.start_epoch(epoch, true);
    for (std::int64_t b = 0; b < loaders[0].batches(); ++b) {
      PanelBuffer buffer;
      const Panels<float> both = buffer.view(12, 32, 32);
      std::vector<std::int32_t> classes;
      for (int worker = 0; worker < 2; ++worker) {
        const Batch batch = loaders[static_cast<std::size_t>(worker)].get(b, 16);
        for (std::int32_t s = 0; s < 16; ++s)
          for (std::int32_t f = 0; f < 12; ++f) both.at(worker * 16 + s, f) = batch.inputs.at(s, f);
        classes.insert(classes.end(), batch.classes.begin(), batch.classes.end());
      }
      replica.learn({.inputs = both, .classes = classes, .targets = {}},
                    {.training = true, .seed = alone.model.seed});
      replica.step(config.train.learning_rate);
    }
  }
  EXPECT_LT(largest_difference(shared.model.network, alone.model.network), 1e-5);
}

TEST(Wassp, RaisesTheRateToThatOfAllWorkersOverFiveEpochs) {
  const Dataset data = many_data();
  Config config = config_of("wassp", 3);
  config.parallel.lr_scale = "auto";
  config.parallel.phase1 = 0.8;
  config.train.batch_size = 16;
  config.train.epochs = 10;
  config.train.learning_rate = 0.001;
  const Outcome outcome = outcome_of(config, data);
  const double wanted[] = {1, 1.4, 1.8, 2.2, 2.6, 3, 3, 3, 1, 1};
  for (std::size_t e = 0; e < 10; ++e)
    EXPECT_NEAR(outcome.diary.epochs[e].learning_rate, 0.001 * wanted[e], 1e-12) << e;
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
