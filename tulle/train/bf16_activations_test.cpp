// Trainings whose activations are kept in bfloat16: model.dtype = "bf16" with run.storage = "compact".
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tulle/report/memory.h"
#include "tulle/train/build.h"
#include "tulle/train/evaluate.h"
#include "tulle/train/plan.h"
#include "tulle/train/plan_testing.h"
#include "tulle/train/stop_testing.h"
#include "tulle/train/train_testing.h"

namespace tulle::testing {
namespace {

using ::testing::HasSubstr;

Config rounding_config() {
  Config config = small_config();
  config.topology.epsilon = 1.5;
  config.model.dtype = "bf16";
  config.run.storage = "compact";
  return config;
}

TEST(Bf16Activations, TrainTheSameBitsWithAnyNumberOfThreadsThroughTopologyEvents) {
  const Dataset data = small_data();
  for (const char* weights : {"f32", "bf16"})
    for (const std::int64_t batch : {2, 4, 16, 20}) {
      Config config = rounding_config();
      config.model.weights = weights;
      config.train.batch_size = batch;
      const Bits one = [&] {
        const Threads use(1);
        return trained(start_run(config, data), data);
      }();
      for (const int threads : {2, 3}) {
        const Threads use(threads);
        EXPECT_TRUE(trained(start_run(config, data), data) == one)
            << weights << ", " << batch << ", " << threads;
      }
      config.model.dtype = "f32";
      EXPECT_FALSE(trained(start_run(config, data), data) == one) << weights << ", " << batch;
    }
}

TEST(Bf16Activations, GoOnFromACheckpointWithTheSameBits) {
  const Dataset data = small_data();
  for (const char* activation : {"all-relu", "gelu"}) {
    Config config = rounding_config();
    config.model.activation = activation;
    config.topology.epsilon = 2.5;  // the outputs are a dense layer
    const Bits expected = trained(start_run(config, data), data);
    const TemporaryDirectory folder;
    config.checkpoint.save_every = "1 step";
    const std::string checkpoint = stopped_in_the_middle(config, data, folder / "run");
    EXPECT_TRUE(trained(resume_run(config, data, checkpoint), data) == expected) << activation;
  }
}

TEST(Bf16Activations, TrainTheSameBitsWithConnectionsInFiles) {
  const Dataset data = small_data();
  Config config = rounding_config();
  const Bits expected = trained(start_run(config, data), data);
  const TemporaryDirectory folder;
  config.run.spill = folder.path();
  config.run.memory_limit = "1K";
  const Plan plan = make_plan(config, data);
  ASSERT_FALSE(plan.spill.empty());
  EXPECT_TRUE(trained(start_run(config, data), data) == expected);
}

TEST(Bf16Activations, AreForLargeNetworksUnlessFastStorageIsAskedFor) {
  Config config = rounding_config();
  config.run.storage = "auto";
  EXPECT_EQ(storage_of(config, 1000), Storage::kFast);
  EXPECT_EQ(storage_of(config, std::int64_t{1} << 25), Storage::kCompact);
  config.run.storage = "fast";
  EXPECT_EQ(storage_of(config, std::int64_t{1} << 25), Storage::kFast);
}

TEST(Bf16Activations, ArePlannedAsTheyAre) {
  Config config = rounding_config();
  config.data.format = "synthetic";
  config.data.features = 8192;
  config.data.scale = "none";
  config.synthetic.samples = 64;
  config.synthetic.test_samples = 0;
  config.model.hidden = {300000, 300000};
  config.model.dropout = 0.0;
  config.topology.distribution = "uniform";  // no layer is dense
  config.topology.density = 2e-5;
  const Dataset data = load_dataset(data_options(config));
  const auto activations = [&] {
    for (const Plan::Item& item : make_plan(config, data).items)
      if (item.name == "activations") return item.bytes;
    return std::int64_t{-1};
  };
  constexpr std::int64_t kHidden = 600000, kBatch = 16, kSigns = 2;
  const std::int64_t outputs = static_cast<std::int64_t>(data.class_names.size());
  EXPECT_EQ(activations(), kHidden * (2 * kBatch + kSigns) + outputs * (4 * kBatch + kSigns));
  config.train.batch_size = 2;
  EXPECT_EQ(activations(), kHidden * (4 + kSigns) + outputs * (8 + kSigns));
  config.train.batch_size = 16;
  config.train.epochs = 1;
  const Plan plan = make_plan(config, data);
  expect_memory(config, data, plan.total());
}

}  // namespace
}  // namespace tulle::testing
