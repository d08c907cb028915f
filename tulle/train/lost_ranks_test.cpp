// Ranks that die, fall silent, differ or diverge, in every mode.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <utility>

#include "tulle/base/error_testing.h"
#include "tulle/comm/comm_testing.h"
#include "tulle/train/modes.h"
#include "tulle/train/modes_testing.h"

namespace tulle::testing {
namespace {

using ::testing::AnyOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// Passes messages on until one of them kills the rank, or makes it fall silent.
class Fragile final : public Communicator {
 public:
  Fragile(Communicator& inner, int last)
      : Communicator(inner.rank(), inner.size()), inner_(inner), left_(last) {}
  void give_up(int code) override { inner_.give_up(code); }

 private:
  std::unique_ptr<Transfer> start_send(int to, std::span<const std::byte> bytes) override {
    count();
    return inner_.send(to, bytes);
  }
  std::unique_ptr<Transfer> start_receive(int from, std::span<std::byte> bytes) override {
    count();
    return inner_.receive(from, bytes);
  }
  void tell(double seconds) override { inner_.announce(seconds); }
  bool hear(std::span<double>) override { return false; }
  void count() {
    if (left_-- == 0) throw std::runtime_error("killed");
  }

  Communicator& inner_;
  int left_;
};

struct Fault {
  std::string mode;
  int rank;
  bool silent;
};
class EveryModeSurvives : public ::testing::TestWithParam<Fault> {};

TEST_P(EveryModeSurvives, ARankThatFailsAtAnyMessage) {
  const Dataset data = many_data();
  Config config = config_of(GetParam().mode, 2);
  config.train.batch_size = 64;
  config.train.epochs = 3;
  config.parallel.timeout = 0.2;
  config.parallel.local_steps = 2;
  config.checkpoint.save_every = "1 step";
  const std::vector<int> moments = GetParam().silent
                                       ? std::vector<int>{7, 40, 90}
                                       : std::vector<int>{0, 1, 2, 5, 9, 14, 20, 33, 54, 70, 87, 150};
  for (const int moment : moments) {
    const TemporaryDirectory folder;
    RunDirectory directory = RunDirectory::open(folder / "run", hasty_file_ops());
    bool killed = false;
    const auto thrown = on_ranks(2, [&](Communicator& whole) {
      tulle::Run run = start_run(config, data);
      Observer nobody;
      Signals none;
      Fragile fragile(whole, moment);
      Communicator& comm = whole.rank() == GetParam().rank ? static_cast<Communicator&>(fragile) : whole;
      try {
        train(run, data, whole.rank() == 0 ? &directory : nullptr, nobody, none, comm);
      } catch (const std::runtime_error& error) {
        if (std::string_view(error.what()) != "killed") throw;
        killed = true;
        if (!GetParam().silent) throw;
      }
    });
    const auto other = static_cast<std::size_t>(1 - GetParam().rank);
    if (killed) {
      EXPECT_THAT(thrown[other], AnyOf(HasSubstr("gave up"), HasSubstr("parallel.timeout"))) << moment;
    }
    std::vector<std::string> skipped;
    if (const auto newest = newest_checkpoint(directory.path(), skipped)) {
      EXPECT_NO_THROW((void)resume_run(config, data, *newest)) << moment;
    }
    EXPECT_THAT(skipped, IsEmpty());
  }
}

std::vector<Fault> faults() {
  std::vector<Fault> all;
  for (const ModeInfo& mode : modes())
    for (const int rank : {0, 1})
      for (const bool silent : {false, true})
        if (mode.name != "none") all.push_back({std::string(mode.name), rank, silent});
  return all;
}
INSTANTIATE_TEST_SUITE_P(Modes, EveryModeSurvives, ::testing::ValuesIn(faults()), [](const auto& info) {
  return test_title(info.param.mode) + "_rank" + std::to_string(info.param.rank) +
         (info.param.silent ? "_silent" : "_dead");
});

/// The first thing that it is told to do takes longer than the others wait.
class Slow {
 public:
  void once() {
    if (!done_.exchange(true)) std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  }
  bool done() const { return done_; }

 private:
  std::atomic<bool> done_{false};
};
struct SlowDisk : FileOps {
  int fsync(int) override {
    if (training) slow.once();
    return 0;
  }
  std::atomic<bool> training{false};
  Slow slow;
};

Config impatient(std::string_view mode) {
  Config config = config_of(mode, 2);
  config.parallel.timeout = 1.0;
  config.train.epochs = 2;
  return config;
}

void expect_to_wait_for_the_disk(const Config& config, const Dataset& data) {
  const TemporaryDirectory folder;
  SlowDisk disk;
  RunDirectory directory = RunDirectory::open(folder / "run", disk);
  tulle::Run run = start_run(config, data);
  Observer nobody;
  Signals none;
  disk.training = true;
  EXPECT_NO_THROW(train(run, data, &directory, nobody, none)) << config.parallel.mode;
  EXPECT_TRUE(disk.slow.done()) << config.parallel.mode;
}

TEST(EveryMode, WaitsForASaveThatTakesLongerThanTheTimeLimit) {
  const Dataset data = many_data();
  for (const ModeInfo& mode : modes()) {
    Config config = impatient(mode.name);
    config.parallel.phase1 = 1.0;
    config.checkpoint.save_every = "1 epoch";
    expect_to_wait_for_the_disk(config, data);
  }
}

TEST(EveryMode, WaitsForTheBestModelsFileThatTakesLongerThanTheTimeLimit) {
  const Dataset data = many_data();
  for (const ModeInfo& mode : modes()) {
    // An average, or a network that nobody has as a whole, is their model.
    if (mode.name.starts_with("was") || mode.name == "rows") continue;
    Config config = impatient(mode.name);
    config.checkpoint.best = "valid_loss";
    expect_to_wait_for_the_disk(config, data);
  }
}

// What one rank does takes longer than the others wait, and what these do themselves is no trifle.
TEST(LocalSgd, WaitsForARankThatIsSlowerBetweenTwoMeetings) {
  struct : Observer {
    void on_batch(const Batch& batch) override {
      if (batch.epoch == 1 && batch.batch == 1) std::this_thread::sleep_for(pause);
    }
    std::chrono::milliseconds pause{};
  } observers[2];
  observers[0].pause = std::chrono::milliseconds(1500);
  observers[1].pause = std::chrono::milliseconds(300);
  const Dataset data = many_data();
  Config config = impatient("local-sgd");
  config.train.batch_size = 64;
  config.parallel.local_steps = 3;
  const auto thrown = on_ranks(2, [&](Communicator& comm) {
    tulle::Run run = start_run(config, data);
    Signals none;
    train(run, data, nullptr, observers[comm.rank()], none, comm);
  });
  EXPECT_THAT(thrown, Each(IsEmpty()));
}

// Ranks that are threads share the signal; only one of them can save.
TEST(EveryMode, SavesEachTimeItIsAskedTo) {
  const Dataset data = many_data();
  Config config = config_of("sync", 4);
  config.train.batch_size = 64;
  config.checkpoint.keep = 100;
  const TemporaryDirectory folder;
  RunDirectory directory = RunDirectory::open(folder / "run", hasty_file_ops());
  tulle::Run run = start_run(config, data);
  Signals signals;
  Diary diary;
  diary.at_batch = [&](const Observer::Batch&) { signals.save = true; };
  train(run, data, &directory, diary, signals);
  EXPECT_EQ(diary.saves.size(), diary.batches.size());
}

TEST(Wasap, NoticesAWorkerThatHangsThoughOthersKeepItBusy) {
  const Dataset data = many_data();
  Config config = config_of("wasap", 3);
  config.train.batch_size = 16;
  config.train.epochs = 1'000'000;
  config.parallel.timeout = 1.0;
  config.parallel.phase1 = 1.0;
  const auto thrown = on_ranks(3, [&](Communicator& whole) {
    tulle::Run run = start_run(config, data);
    Observer nobody;
    Signals none;
    Fragile fragile(whole, 90);
    Communicator& comm = whole.rank() == 1 ? static_cast<Communicator&>(fragile) : whole;
    try {
      train(run, data, nullptr, nobody, none, comm);
    } catch (const std::runtime_error& error) {
      if (std::string_view(error.what()) != "killed") throw;
    }
  });
  EXPECT_THAT(thrown[0], HasSubstr("no message from worker 1 for 1."));
  EXPECT_THAT(thrown[2], HasSubstr("gave up"));
}

// The server of wasap has its workers wait meanwhile; in the second phase replicas wait where epochs end.
TEST(EveryMode, WaitsForATopologyEventThatTakesLongerThanTheTimeLimit) {
  struct : Observer {
    void on_evolve(const EvolveRecord&) override { slow.once(); }
    Slow slow;
  } observer[3];
  const Dataset data = many_data();
  const auto train_with = [&](const char* mode, double phase1, Observer& watching) {
    Config config = impatient(mode);
    config.parallel.phase1 = phase1;
    tulle::Run run = start_run(config, data);
    Signals none;
    train(run, data, nullptr, watching, none);
  };
  EXPECT_NO_THROW(train_with("wasap", 1.0, observer[0]));
  EXPECT_NO_THROW(train_with("wasap", 0.0, observer[1]));
  EXPECT_NO_THROW(train_with("wassp", 0.0, observer[2]));
  for (const auto& seen : observer) EXPECT_TRUE(seen.slow.done());
}

TEST(Ranks, ThatDifferAreRefusedBeforeTheFirstStepAndNamed) {
  const Dataset data = many_data();
  Dataset other = many_data();
  other.train = blobs(300, 5);
  const auto refusals = [&](const std::function<void(Config&, const Dataset*&)>& change) {
    return on_ranks(3, [&](Communicator& comm) {
      Config config = config_of("sync", 3);
      const Dataset* own = &data;
      if (comm.rank() == 1) change(config, own);
      tulle::Run run = start_run(config, *own);
      Observer nobody;
      Signals none;
      train(run, *own, nullptr, nobody, none, comm);
    });
  };
  EXPECT_THAT(refusals([](Config& config, const Dataset*&) { config.train.learning_rate = 0.5; }),
              Each(HasSubstr("rank 1: config, found hash")));
  EXPECT_THAT(refusals([](Config& config, const Dataset*&) { config.parallel.shard_momentum = true; }),
              Each(HasSubstr("rank 1: parallel.shard_momentum, found")));
  EXPECT_THAT(refusals([](Config& config, const Dataset*&) { config.train.epochs = 9; }),
              Each(HasSubstr("rank 1: ")));
  EXPECT_THAT(refusals([&](Config&, const Dataset*& own) { own = &other; }),
              Each(HasSubstr("rank 1: training data, found hash")));
}

TEST(Ranks, ThatHaveNoWholeNetworkRefuseToKeepTheBest) {
  Config config = config_of("rows", 2);
  config.checkpoint.best = "valid_loss";
  const Dataset data = many_data();  // with validation samples that no key asked for
  tulle::Run run = start_run(config, data);
  Observer nobody;
  Signals none;
  EXPECT_EQ(kind_thrown_by([&] { train(run, data, nullptr, nobody, none); }), ErrorKind::kConfig);
}

TEST(Ranks, MoreThanSamplesAreRefused) {
  Dataset data = many_data();
  data.train = blobs(3, 1);
  tulle::Run run = start_run(config_of("sync", 4), data);
  Observer nobody;
  Signals none;
  try {
    train(run, data, nullptr, nobody, none);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfig);
    EXPECT_THAT(error.what(), HasSubstr("parallel.ranks, found 4, expected at most 3"));
  }
}

TEST(Ranks, WhatDivergesIsToldAsThatAndNotAsALostRank) {
  const Dataset data = many_data();
  for (const ModeInfo& mode : modes()) {
    Config config = config_of(mode.name, 2);
    config.train.learning_rate = 1e30;
    config.train.batch_size = 16;
    tulle::Run run = start_run(config, data);
    Observer nobody;
    Signals none;
    try {
      train(run, data, nullptr, nobody, none);
      ADD_FAILURE() << mode.name;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kDiverged) << mode.name << ": " << error.what();
    }
  }
}

}  // namespace
}  // namespace tulle::testing
