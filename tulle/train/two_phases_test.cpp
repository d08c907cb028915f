// wasap and wassp on ranks that are threads: what they promise in each phase, and at the parting and the
// average.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tulle/comm/comm_testing.h"
#include "tulle/data/loader.h"
#include "tulle/evolve/evolve.h"
#include "tulle/train/modes.h"
#include "tulle/train/modes_testing.h"

namespace tulle::testing {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

Bits without_momentum(Bits bits) {
  std::erase_if(bits, [](const auto& entry) {
    return entry.first.ends_with(".m1") || entry.first.ends_with(".m2") || entry.first.ends_with(".age");
  });
  return bits;
}

TEST(Wasap, OfOneWorkerIsTrainingAloneBitForBit) {
  const Dataset data = many_data();
  const auto whole_training = [&](const Config& config, Bits& before_the_average) {
    Outcome outcome;
    tulle::Run run = start_run(config, data);
    outcome.diary.at_epoch = [&](const EpochRecord&) {
      before_the_average = bits_of(run.model.network);
      return true;
    };
    Signals none;
    train(run, data, nullptr, outcome.diary, none);
    outcome.bits = bits_of(run.model.network);
    return outcome;
  };
  for (const double phase1 : {1.0, 0.7, 0.0}) {
    Config config = config_of("wasap", 1), alone = config_of("none", 1);
    config.parallel.phase1 = phase1;
    config.train.epochs = alone.train.epochs = 4;
    config.train.batch_size = alone.train.batch_size = 16;
    Bits worker_before, sequential_before;
    const Outcome worker = whole_training(config, worker_before),
                  sequential = whole_training(alone, sequential_before);
    EXPECT_EQ(losses_of(worker.diary), losses_of(sequential.diary));
    for (std::size_t e = 0; e < 4; ++e) {
      EXPECT_EQ(worker.diary.epochs[e].test_loss, sequential.diary.epochs[e].test_loss) << e;
      EXPECT_EQ(worker.diary.epochs[e].valid_loss, sequential.diary.epochs[e].valid_loss) << e;
    }
    EXPECT_FALSE(worker.diary.events.empty());
    EXPECT_EQ(worker_before == sequential_before, true) << phase1 << ", momentum and all";
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

// An epoch of the first phase is told of when the next one is over: meanwhile a copy is looked at.
TEST(Wasap, StepsGoOnWhileTheNetworkOfAnEpochIsEvaluated) {
  const Dataset data = many_data();
  Config config = config_of("wasap", 3);
  config.train.batch_size = 16;
  config.train.epochs = 4;
  config.parallel.phase1 = 0.5;
  tulle::Run run = start_run(config, data);
  Diary diary;
  std::vector<std::int64_t> working_on;  // when each epoch is told of
  diary.at_epoch = [&](const EpochRecord&) {
    working_on.push_back(diary.batches.back().epoch);
    return true;
  };
  Signals none;
  train(run, data, nullptr, diary, none);
  EXPECT_THAT(working_on, ElementsAre(2, 3, 3, 4));
  for (std::size_t e = 0; e < 4; ++e) {
    EXPECT_EQ(diary.epochs[e].epoch, static_cast<int>(e) + 1);
    EXPECT_TRUE(diary.epochs[e].test_loss && diary.epochs[e].valid_loss);
  }
}

TEST(Wasap, ACheckpointComesAfterTheRecordOfItsEpoch) {
  const Dataset data = many_data();
  Config config = config_of("wasap", 2);
  config.train.batch_size = 16;
  config.parallel.phase1 = 1.0;
  config.checkpoint.save_every = "1 epoch";
  const TemporaryDirectory folder;
  RunDirectory directory = RunDirectory::open(folder / "run", hasty_file_ops());
  tulle::Run run = start_run(config, data);
  struct : Observer {
    bool on_epoch(const EpochRecord& record) override {
      order += 'e' + std::to_string(record.epoch);
      return true;
    }
    void on_checkpoint(const CheckpointRecord&) override { order += "s"; }
    std::string order;
  } observer;
  Signals none;
  train(run, data, &directory, observer, none);
  EXPECT_EQ(observer.order, "e1se2se3s");
}

// What the server sent to one worker beside worker 0, in as many steps.
std::int64_t sent_by_the_server(const Config& config, std::int64_t& connections, std::int64_t& events) {
  const Dataset data = many_data();
  std::int64_t sent = 0;
  const auto thrown = on_ranks(2, [&](Communicator& comm) {
    tulle::Run run = start_run(config, data);
    Diary diary;
    Signals none;
    train(run, data, nullptr, diary, none, comm);
    if (comm.rank() != 0) return;
    sent = static_cast<std::int64_t>(comm.traffic().sent);
    connections = run.model.network.connections();
    events = diary.events.empty() ? 0 : diary.events.back().epoch;
  });
  EXPECT_THAT(thrown, Each(IsEmpty()));
  return sent;
}

TEST(Wasap, ATopologyEventSendsAQuarterOfAByteAConnectionAtMost) {
  Config config = config_of("wasap", 2);
  config.model.hidden = {600, 600};
  config.topology.epsilon = 30.0;
  config.train.batch_size = 50;
  config.parallel.order = "round-robin";
  config.parallel.phase1 = 1.0;
  std::int64_t connections = 0, events = 0, none = 0;
  const std::int64_t with = sent_by_the_server(config, connections, events);
  config.evolve.rule = "none";
  const std::int64_t without = sent_by_the_server(config, connections, none);
  EXPECT_EQ(events, 2);
  EXPECT_EQ(none, 0);
  EXPECT_GT(with, without);
  EXPECT_LE(static_cast<double>(with - without), 0.25 * static_cast<double>(events * connections));
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
    std::vector<std::int64_t> before;  // as many as at the parting: events keep their number
    for (std::size_t l = 0; l < run.model.network.size(); ++l)
      before.push_back(run.model.network.connections(l));
    Observer nobody;
    Signals none;
    ASSERT_EQ(train(run, data, nullptr, nobody, none), Ending::kFinished);
    const double missing = std::string_view(resparsify) == "magnitude" ? 0.0 : 3.0;
    for (std::size_t l = 0; l < before.size(); ++l)
      EXPECT_NEAR(static_cast<double>(run.model.network.connections(l)), static_cast<double>(before[l]),
                  missing)
          << "layer " << l;
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
  config.parallel.order = "round-robin";
  for (const int together : {0, 2}) {  // epochs
    config.parallel.phase1 = together / 4.0;
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
    ASSERT_EQ(directory.checkpoints().size(), 1u) << "saved at the parting, however seldom it is otherwise";
    tulle::Run second = resume_run(config, data, directory.checkpoints().front().path);
    EXPECT_EQ(second.state.epoch, together);
    Signals none;
    Observer nobody;
    EXPECT_EQ(train(second, data, nullptr, nobody, none), Ending::kFinished);
    EXPECT_EQ(bits_of(second.model.network) == whole, true);
  }
}

TEST_P(BothPhases, StopWhereAnObserverWantsAlsoAtTheParting) {
  const Dataset data = many_data();
  Config config = config_of(GetParam(), 2);
  config.train.batch_size = 16;
  config.train.epochs = 4;
  config.parallel.phase1 = 0.5;
  for (const int last : {1, 2, 3}) {
    tulle::Run run = start_run(config, data);
    Diary diary;
    diary.at_epoch = [&](const EpochRecord& record) { return record.epoch < last; };
    Signals none;
    EXPECT_EQ(train(run, data, nullptr, diary, none), Ending::kStopped) << last;
  }
}

TEST_P(BothPhases, RefuseShardsWithoutABatch) {
  const Dataset data = many_data();
  Config config = config_of(GetParam(), 2);
  config.train.batch_size = 200;
  config.train.last_batch = "drop";
  tulle::Run run = start_run(config, data);
  Observer nobody;
  Signals none;
  try {
    train(run, data, nullptr, nobody, none);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfig);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("train.batch_size, found 200, expected at most 150"));
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, BothPhases, ::testing::Values("wasap", "wassp"),
                         [](const auto& info) { return std::string(info.param); });

// Two batches of 16, one from each worker's shard, are a batch of 32: the same samples in one piece to within
// rounding, in two pieces whose gradients are added in the order of workers to the bit.
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

  for (const bool in_pieces : {false, true}) {
    tulle::Run alone = start_run(config, data);
    Replica replica(alone, data);
    const Pass pass{.training = true, .seed = alone.model.seed};
    std::vector<Loader> loaders;
    for (int worker = 0; worker < 2; ++worker)
      loaders.push_back(replica.make_loader({.worker = worker, .workers = 2}));
    for (int epoch = 0; epoch < 2; ++epoch) {
      for (Loader& loader : loaders) loader.start_epoch(epoch, true);
      for (std::int64_t b = 0; b < loaders[0].batches(); ++b) {
        PanelBuffer buffer;
        const Panels<float> both = buffer.view(12, 32, 32);
        std::vector<std::int32_t> classes;
        std::vector<AlignedVector<float>> sums;
        for (int worker = 0; worker < 2; ++worker) {
          const Batch batch = replica.get(loaders[static_cast<std::size_t>(worker)], b);
          for (std::int32_t s = 0; s < 16; ++s)
            for (std::int32_t f = 0; f < 12; ++f) both.at(worker * 16 + s, f) = batch.inputs.at(s, f);
          classes.insert(classes.end(), batch.classes.begin(), batch.classes.end());
          if (!in_pieces) continue;
          replica.learn(batch, pass);
          std::size_t p = 0;
          for (Parameter* parameter : alone.model.network.parameters()) {
            if (worker == 0) sums.emplace_back(parameter->gradient.size(), 0.0f);
            for (std::size_t k = 0; k < parameter->gradient.size(); ++k)
              sums[p][k] += 0.5f * parameter->gradient[k];
            if (worker == 1) parameter->gradient = sums[p];
            ++p;
          }
        }
        if (!in_pieces) replica.learn({.inputs = both, .classes = classes, .targets = {}}, pass);
        replica.step(config.train.learning_rate);
      }
    }
    EXPECT_LE(largest_difference(shared.model.network, alone.model.network), in_pieces ? 0.0 : 1e-5);
  }
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

}  // namespace
}  // namespace tulle::testing
