// Trainings whose topology events renew each row in place (evolve.scope = "row").
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tulle/evolve/evolve.h"
#include "tulle/report/memory.h"
#include "tulle/train/build.h"
#include "tulle/train/plan.h"
#include "tulle/train/plan_testing.h"
#include "tulle/train/stop_testing.h"
#include "tulle/train/train_testing.h"

namespace tulle::testing {
namespace {

using ::testing::HasSubstr;

Config row_config() {
  Config config = small_config();
  config.topology.distribution = "fixed-fan-in";
  config.topology.fan_in = 5;
  config.evolve.scope = "row";
  config.evolve.drop = "magnitude";
  return config;
}

TEST(RowEvents, TrainTheSameBitsInBothStoragesWithAnyNumberOfThreads) {
  const Dataset data = small_data();
  Config config = row_config();
  config.run.storage = "fast";
  const Bits expected = trained(start_run(config, data), data);
  config.evolve.rule = "none";
  EXPECT_FALSE(trained(start_run(config, data), data) == expected) << "do events change anything?";
  config.evolve.rule = "set";
  config.run.storage = "compact";
  for (const int threads : {1, 2, 3}) {
    const Threads use(threads);
    tulle::Run run = start_run(config, data);
    Diary diary;
    Signals none;
    train(run, data, nullptr, diary, none);
    EXPECT_TRUE(bits_of(run.model.network) == expected) << threads;
    EXPECT_TRUE(run.model.network.layer(0).topology()->row_ptr().is_even());
    ASSERT_FALSE(diary.events.empty());
    EXPECT_EQ(diary.events[0].after, diary.events[0].before);
    EXPECT_GT(diary.events[0].grown, 0);
  }
}

TEST(RowEvents, GoOnFromACheckpointWithTheSameBits) {
  const Dataset data = small_data();
  Config config = row_config();
  config.model.weights = config.model.dtype = "bf16";
  const Bits expected = trained(start_run(config, data), data);
  const TemporaryDirectory folder;
  config.checkpoint.save_every = "1 step";
  const std::string checkpoint = stopped_in_the_middle(config, data, folder / "run");
  EXPECT_TRUE(trained(resume_run(config, data, checkpoint), data) == expected);
}

TEST(RowEvents, AreRefusedBesideWhatLooksAtMoreThanARow) {
  const auto found = [](const auto& change) {
    Config config = row_config();
    change(config);
    return refusal([&] { (void)evolution_of(config); }, ErrorKind::kConfig);
  };
  EXPECT_NO_THROW((void)evolution_of(row_config()));
  EXPECT_THAT(found([](Config& c) { c.evolve.drop = "rule"; }),
              HasSubstr("evolve.drop, found 'set', expected 'magnitude' with evolve.scope = \"row\""));
  EXPECT_THAT(found([](Config& c) { c.evolve.grow = "none"; }), HasSubstr("evolve.grow, found 'none'"));
  EXPECT_THAT(found([](Config& c) { c.evolve.min_fan_in = 1; }), HasSubstr("evolve.min_fan_in, found 1"));
  EXPECT_THAT(found([](Config& c) { c.evolve.chain_removal = true; }), HasSubstr("evolve.chain_removal"));
  EXPECT_THAT(found([](Config& c) { c.evolve.regrow_dropped = false; }), HasSubstr("evolve.regrow_dropped"));
  EXPECT_THAT(found([](Config& c) { c.evolve.final_density = 0.1; }), HasSubstr("evolve.final_density"));
  EXPECT_THAT(found([](Config& c) { c.evolve.redistribute = "nonzeros"; }), HasSubstr("evolve.redistribute"));
  EXPECT_THAT(found([](Config& c) { c.topology.window = 64; }), HasSubstr("topology.window, found 64"));
  EXPECT_THAT(found([](Config& c) { c.parallel.mode = "rows"; }), HasSubstr("parallel.mode, found 'rows'"));
}

TEST(RowEvents, TakeNoRowPointersAndNoLayerMore) {
  Config config = row_config();
  config.data.format = "synthetic";
  config.data.features = 8192;
  config.data.scale = "none";
  config.synthetic.samples = 64;
  config.synthetic.test_samples = 0;
  config.model.hidden = {300000, 300000};
  config.run.storage = "compact";
  config.train.batch_size = 4;
  config.train.epochs = 2;  // an event between them
  const Dataset data = load_dataset(data_options(config));
  const Plan plan = make_plan(config, data);
  const auto bytes = [&](const Plan& of, const std::string& name) {
    for (const Plan::Item& item : of.items)
      if (item.name == name) return item.bytes;
    return std::int64_t{-1};
  };
  EXPECT_EQ(bytes(plan, "connections"), 4 * plan.connections);
  config.evolve.scope = "layer";
  EXPECT_EQ(bytes(make_plan(config, data), "connections"), 4 * (plan.connections + plan.neurons + 3));
  EXPECT_GT(bytes(make_plan(config, data), "topology events"), bytes(plan, "topology events"));
  config.evolve.scope = "row";
  expect_memory(config, data, plan.total());
}

}  // namespace
}  // namespace tulle::testing
