#include "tulle/train/plan.h"
#include "tulle/train/plan_testing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tulle/base/error.h"
#include "tulle/report/memory.h"
#include "tulle/train/build.h"
#include "tulle/train/plan_ranks.h"
#include "tulle/train/stop_testing.h"
#include "tulle/train/train_testing.h"

namespace tulle::testing {
namespace {

using ::testing::HasSubstr;

// 8192-200k-200k-2: some 60 MB of network, more than what else a process takes.
Config wide_config(const std::string& storage) {
  Config config;
  config.data.format = "synthetic";
  config.data.features = 8192;
  config.data.scale = "none";
  config.synthetic.samples = 64;
  config.synthetic.test_samples = 0;
  config.model.hidden = {200000, 200000};
  config.topology.epsilon = 3.0;
  config.train.batch_size = 16;
  config.train.epochs = 2;  // an event between them
  config.checkpoint.save_every = "never";
  config.run.storage = storage;
  return config;
}

class EveryStorage : public ::testing::TestWithParam<StorageInfo> {};

TEST_P(EveryStorage, ATrainingTakesTheMemoryOfItsPlan) {
  Config config = wide_config(std::string(GetParam().name));
  config.train.batch_size =
      128;  // every part but the smallest then is more than the 64 MB that are allowed for
  config.synthetic.samples = 128;
  const Dataset data = load_dataset(data_options(config));
  const Plan plan = make_plan(config, data);
  EXPECT_EQ(plan.storage, GetParam().storage);
  EXPECT_EQ(plan.neurons, 400002);
  expect_memory(config, data, plan.total());
}
INSTANTIATE_TEST_SUITE_P(Storages, EveryStorage, ::testing::ValuesIn(storages().begin(), storages().end()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(Plan, OfABatchInShardsIsTheMemoryOfATraining) {
  Config config = wide_config("fast");
  config.train.batch_size = 512;
  config.synthetic.samples = 512;
  config.parallel.mode = "sync";
  config.parallel.virtual_shards = 8;
  const Dataset data = load_dataset(data_options(config));
  const std::int64_t planned = make_plan(config, data).total();
  expect_memory(config, data, planned);
  config.parallel.virtual_shards = 0;
  EXPECT_LT(2 * planned, make_plan(config, data).total());
}

TEST(Plan, OfAWideNetworkInTheFastFormCountsItsEvaluation) {
  Config config = wide_config("fast");
  config.data.features = 256;
  config.synthetic.samples = 640;
  config.data.valid_fraction = 0.8;
  const Dataset data = load_dataset(data_options(config));
  expect_memory(config, data, make_plan(config, data).total());
}

// Ranks that are threads share their data.
class EveryMode : public ::testing::TestWithParam<const char*> {};

TEST_P(EveryMode, RanksTakeTheMemoryOfTheirPlans) {
  Config config = wide_config("fast");
  config.train.batch_size = 128;
  config.synthetic.samples = 128;
  config.parallel.mode = GetParam();
  config.parallel.ranks = 2;
  const Dataset data = load_dataset(data_options(config));
  const Plan rank = plan_ranks(config, data, {}).rank;
  const std::int64_t planned = 2 * rank.total() - rank.data_bytes;
  expect_memory(config, data, planned);
}
INSTANTIATE_TEST_SUITE_P(Modes, EveryMode, ::testing::Values("sync", "local-sgd"), [](const auto& info) {
  std::string name = info.param;
  std::erase(name, '-');
  return name;
});

TEST(Plan, CountsConnectionsAsTheNetworkWillHaveThem) {
  const Config config = wide_config("compact");
  const Dataset data = load_dataset(data_options(config));
  const Plan plan = make_plan(config, data);
  EXPECT_EQ(plan.connections, start_run(config, data).model.network.connections());
}

TEST(Plan, KnowsTheLargestBatchThatFits) {
  const Config config = wide_config("compact");
  const Dataset data = load_dataset(data_options(config));
  Config larger = config;
  larger.train.batch_size = 64;
  const std::int64_t limit = make_plan(larger, data).total();
  EXPECT_EQ(largest_batch(config, data, limit), 64);
  EXPECT_LT(largest_batch(config, data, limit - 1), 64);
  EXPECT_EQ(largest_batch(config, data, 1000), 0);
}

TEST(Plan, ThatNeedsMoreThanItMayIsRefusedWithAllItsParts) {
  Config config = wide_config("compact");
  const Dataset data = load_dataset(data_options(config));
  config.run.memory_limit = "20M";
  try {
    check_plan(config, data);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kMemory);
    EXPECT_THAT(error.what(), HasSubstr("activations"));
    EXPECT_THAT(error.what(), HasSubstr("expected at most 20.97 MB (run.memory_limit)"));
  }
  for (const char* enough : {"2G", "2GiB", "2000000000", "none", "auto"}) {
    config.run.memory_limit = enough;
    EXPECT_NO_THROW(check_plan(config, data)) << enough;
  }
}

TEST(MemoryLimit, IsANumberOfBytesInUnits) {
  Config config;
  const auto limit = [&](const char* text) {
    config.run.memory_limit = text;
    return memory_limit(config, {});
  };
  EXPECT_EQ(limit("512"), 512);
  EXPECT_EQ(limit("1.5K"), 1536);
  EXPECT_EQ(limit("3M"), 3 << 20);
  EXPECT_EQ(limit("6GiB"), std::int64_t{6} << 30);
  EXPECT_LT(limit("none"), 0);
  EXPECT_GT(limit("auto"), 0);
  for (const char* wrong : {"", "-1", "6X", "G", "6GB", "many", "0"})
    EXPECT_THROW((void)limit(wrong), Error) << wrong;
}

TEST(Storage, ThatIsCompactIsRefusedWhereGradientsAreNeeded) {
  const Dataset data = small_data();
  const auto refused = [&](const auto& change) {
    Config config = small_config();
    config.run.storage = "compact";
    change(config);
    try {
      (void)start_run(config, data);
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("run.storage, found 'compact', expected 'fast' with"));
      return error.kind() == ErrorKind::kConfig;
    }
    return false;
  };
  EXPECT_FALSE(refused([](Config&) {}));
  EXPECT_TRUE(refused([](Config& config) { config.train.clip_norm = 1.0; }));
  EXPECT_FALSE(refused([](Config& config) { config.model.dtype = "bf16"; }));
  EXPECT_TRUE(refused([](Config& config) { config.evolve.rule = "rigl"; }));
  EXPECT_TRUE(refused([](Config& config) { config.evolve.rule = "mest"; }));
  EXPECT_TRUE(refused([](Config& config) { config.parallel.ranks = 2; }));
}

TEST(Storage, GivesTheSameTrainingBesideDenseLayers) {
  const Dataset data = small_data();
  for (const std::vector<std::int64_t>& dense : {std::vector<std::int64_t>{0}, {1}, {0, 1}, {-1}}) {
    Config config = small_config();
    config.topology.dense_layers = dense;
    config.run.storage = "fast";
    const Bits expected = trained(start_run(config, data), data);
    config.run.storage = "compact";
    EXPECT_TRUE(trained(start_run(config, data), data) == expected) << dense.front();
  }
}

TEST(Storage, GivesTheSameTrainingFromBatchesThatTakeLessThanALine) {
  const Dataset data = small_data();
  for (const std::int64_t batch : {1, 2, 3, 4, 7, 8}) {
    Config config = small_config();
    config.topology.epsilon = 1.5;  // no layer is dense
    config.train.batch_size = batch;
    config.train.epochs = 2;
    config.run.storage = "fast";
    const Bits expected = trained(start_run(config, data), data);
    config.run.storage = "compact";
    EXPECT_LT(start_run(config, data).model.network.panel_width(batch), 16);
    for (const int threads : {1, 2, 3, 4}) {
      const Threads use(threads);
      EXPECT_TRUE(trained(start_run(config, data), data) == expected) << batch << ", " << threads;
    }
  }
}

TEST(Plan, CountsBatchesBelow16AsTheyAreInTheCompactForm) {
  const auto activations = [](std::int64_t batch, const char* storage) {
    Config config = wide_config(storage);
    config.topology.epsilon = 1.0;  // no layer is dense
    config.model.dropout = 0.0;
    config.train.batch_size = batch;
    const Plan plan = make_plan(config, load_dataset(data_options(config)));
    for (const Plan::Item& item : plan.items)
      if (item.name == "activations") return item.bytes / plan.neurons;
    return std::int64_t{-1};
  };
  // Four bytes a sample, and the word of sign bits.
  EXPECT_EQ(activations(16, "compact"), 16 * 4 + 2);
  EXPECT_EQ(activations(4, "compact"), 4 * 4 + 2);
  EXPECT_EQ(activations(3, "compact"), 4 * 4 + 2);
  EXPECT_EQ(activations(1, "compact"), 2 * 4 + 2);
  EXPECT_EQ(activations(4, "fast"), 16 * 4 + 2);
}

TEST(Plan, OfABatchBelow16IsTheMemoryOfATraining) {
  Config config = wide_config("compact");
  config.model.hidden = {2000000, 2000000};
  config.topology.epsilon = 1.0;
  config.train.batch_size = 4;
  config.synthetic.samples = 8;
  config.synthetic.test_samples = 8;
  const Dataset data = load_dataset(data_options(config));
  const Plan plan = make_plan(config, data);
  expect_memory(config, data, plan.total());
}

TEST(Storage, GivesTheSameTrainingAlsoWhenItChangesInTheMiddle) {
  const Dataset data = small_data();
  Config config = small_config();
  config.run.storage = "fast";
  const Bits expected = trained(start_run(config, data), data);
  config.run.storage = "compact";
  EXPECT_TRUE(trained(start_run(config, data), data) == expected);

  const TemporaryDirectory folder;
  config.checkpoint.save_every = "1 step";
  const std::string checkpoint = stopped_in_the_middle(config, data, folder / "run");
  for (const char* storage : {"compact", "fast"}) {
    config.run.storage = storage;
    EXPECT_TRUE(trained(resume_run(config, data, checkpoint), data) == expected) << storage;
  }
}

}  // namespace
}  // namespace tulle::testing
