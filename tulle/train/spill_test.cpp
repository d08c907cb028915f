// Trainings whose connections lie in files (run.spill) beside the same ones in memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tulle/base/error.h"
#include "tulle/base/spill.h"
#include "tulle/report/memory.h"
#include "tulle/train/build.h"
#include "tulle/train/plan.h"
#include "tulle/train/plan_testing.h"
#include "tulle/train/train_testing.h"

namespace tulle::testing {
namespace {

using ::testing::HasSubstr;

// 2000 - 8 x 30,000 - 2, some 2 million connections, with an event after each of 2 epochs of 4 steps.
Config deep_config() {
  Config config;
  config.data.format = "synthetic";
  config.data.features = 2000;
  config.data.scale = "none";
  config.synthetic.samples = 64;
  config.synthetic.test_samples = 16;
  config.model.hidden = std::vector<std::int64_t>(8, 30000);
  config.topology.epsilon = 4.0;
  config.train.batch_size = 16;
  config.train.epochs = 3;
  config.checkpoint.save_every = "never";
  config.run.storage = "compact";
  return config;
}

// The same with one byte less than it would need in memory.
Config spilled(Config config, const Dataset& data, const TemporaryDirectory& folder) {
  config.run.memory_limit = std::to_string(make_plan(config, data).total() - 1);
  config.run.spill = folder / "spill";
  return config;
}

bool lies_in_files(Network& network) {
  for (std::size_t l = 0; l + 1 < network.size(); ++l) {
    const Parameter& weight = network.layer(l).weight();
    if (!is_spilled(weight.value.data()) || !is_spilled(weight.m1.data()) ||
        !is_spilled(network.layer(l).topology()->columns().data()))
      return false;
  }
  return true;
}

TEST(Spill, GivesTheBitsOfATrainingInMemoryAlsoWhenResumed) {
  const TemporaryDirectory folder;
  const Config config = deep_config();
  const Dataset data = load_dataset(data_options(config));
  const Bits expected = trained(start_run(config, data), data);

  Config files = spilled(config, data, folder);
  EXPECT_TRUE(trained(start_run(files, data), data) == expected);

  RunDirectory directory = RunDirectory::open(folder / "run", hasty_file_ops());
  files.checkpoint.save_every = "1 epoch";
  const Threads three(3);
  {
    tulle::Run run = start_run(files, data);
    Signals signals;
    Diary diary;
    diary.at_batch = [&](const Observer::Batch& batch) {
      signals.stop = batch.epoch == 2 && batch.batch == 2;
    };
    train(run, data, &directory, diary, signals);
    EXPECT_TRUE(lies_in_files(run.model.network));
  }
  std::vector<std::string> skipped;
  const std::string newest = *newest_checkpoint(directory.path(), skipped);
  tulle::Run resumed = resume_run(files, data, newest);
  EXPECT_TRUE(lies_in_files(resumed.model.network));
  EXPECT_EQ(resumed.spill, files.run.spill);  // events go there too
  EXPECT_TRUE(trained(std::move(resumed), data) == expected);
  EXPECT_TRUE(trained(resume_run(config, data, newest), data) == expected);  // in memory from here on
}

TEST(Spill, GivesTheBitsOfATrainingInMemoryAlsoInBfloat16) {
  const TemporaryDirectory folder;
  Config config = deep_config();
  config.model.weights = "bf16";
  config.model.dtype = "bf16";
  const Dataset data = load_dataset(data_options(config));
  const Bits expected = trained(start_run(config, data), data);
  const Config files = spilled(config, data, folder);
  const Threads three(3);
  tulle::Run run = start_run(files, data);
  EXPECT_EQ(run.spill, files.run.spill);
  EXPECT_TRUE(trained(std::move(run), data) == expected);
}

TEST(Spill, TakesTheMemoryOfItsPlan) {
  const TemporaryDirectory folder;
  Config config = deep_config();
  config.model.hidden = std::vector<std::int64_t>(8, 100'000);
  config.topology.epsilon = 14.0;
  config.synthetic.samples = 16;
  config.train.epochs = 2;  // an event between them
  const Dataset data = load_dataset(data_options(config));
  const std::int64_t memory = make_plan(config, data).total();
  config = spilled(config, data, folder);
  const std::int64_t planned = make_plan(config, data).total();
  EXPECT_LT(planned, memory - 150'000'000) << "can this still tell?";
  expect_memory(config, data, planned);
}

TEST(Spill, IsNotNeededWhereTheLimitHolds) {
  const TemporaryDirectory folder;
  Config config = deep_config();
  const Dataset data = load_dataset(data_options(config));
  config.run.memory_limit = std::to_string(make_plan(config, data).total());
  config.run.spill = folder / "spill";
  EXPECT_TRUE(make_plan(config, data).spill.empty());
  EXPECT_TRUE(start_run(config, data).spill.empty());
  EXPECT_TRUE(folder.names().empty());
}

TEST(Spill, LeavesThePlanWhatIsNoConnection) {
  const TemporaryDirectory folder;
  const Config config = deep_config();
  const Dataset data = load_dataset(data_options(config));
  const Plan memory = make_plan(config, data), files = make_plan(spilled(config, data, folder), data);
  EXPECT_EQ(files.spill, folder / "spill");
  // Source, weight and momentum; the output layer is dense.
  const std::int64_t sparse = memory.connections - 60000;
  EXPECT_EQ(files.spilled, 12 * sparse);
  EXPECT_EQ(files.read, (4 + 4 + 12) * sparse);
  EXPECT_EQ(files.written, 8 * sparse);
  EXPECT_LT(files.total(), memory.total() - 6 * sparse);
}

TEST(Spill, IsRefusedWithWhatNeedsAllConnectionsAtOnce) {
  const TemporaryDirectory folder;
  const auto refusal = [&](const auto& change) {
    Config config = small_config();
    config.run.storage = "auto";
    config.run.spill = folder.path();
    change(config);
    try {
      (void)start_run(config, small_data());
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kConfig);
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(refusal([](Config&) {}), "");
  const auto with = [](const char* what) { return HasSubstr(std::string("expected none with ") + what); };
  EXPECT_THAT(refusal([](Config& config) { config.run.storage = "fast"; }), with("run.storage = \"fast\""));
  EXPECT_THAT(refusal([](Config& config) { config.train.ema_decay = 0.9; }), with("train.ema_decay"));
  EXPECT_THAT(refusal([](Config& config) { config.train.start_from = "m"; }), with("train.start_from"));
  EXPECT_THAT(refusal([](Config& config) { config.evolve.rule = "rigl"; }), with("evolve.rule = \"rigl\""));
  EXPECT_THAT(refusal([](Config& config) { config.parallel.ranks = 2; }), with("gradients shared by ranks"));
}

}  // namespace
}  // namespace tulle::testing
