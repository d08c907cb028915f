#include "tulle/train/forecast.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tulle/base/error.h"
#include "tulle/base/name_table.h"
#include "tulle/comm/comm_testing.h"
#include "tulle/train/modes.h"
#include "tulle/train/modes_testing.h"
#include "tulle/train/plan_ranks.h"

namespace tulle::testing {
namespace {

// A training of two epochs that sends nothing but what its steps need, and as much at the end of each epoch
// whatever the batch size.
Config quiet_config(std::string_view mode, int ranks, const std::string& wire) {
  Config config = config_of(mode, ranks);
  config.evolve.rule = "none";
  config.train.epochs = 2;
  config.parallel.wire = wire;
  config.parallel.phase1 = 1.0;
  config.parallel.order = "round-robin";
  config.parallel.local_steps = 1;
  return config;
}

struct Traffic {
  std::int64_t sent = 0, steps = 0;
};

// What rank 0 sent in all.
Traffic traffic_of(const Config& config, const Dataset& data) {
  Traffic traffic;
  on_ranks(static_cast<int>(config.parallel.ranks), [&](Communicator& comm) {
    tulle::Run run = start_run(config, data);
    Observer nobody;
    Signals none;
    train(run, data, nullptr, nobody, none, comm);
    if (comm.rank() == 0) traffic = {static_cast<std::int64_t>(comm.traffic().sent), run.state.step};
  });
  return traffic;
}

struct Case {
  const char* mode;
  int ranks;
  const char* wire;
  const char* activation;
  const char* optimizer = "set-sgd";
  bool shard_momentum = false;
};

class EveryForecast : public ::testing::TestWithParam<Case> {};

TEST_P(EveryForecast, CountsTheBytesThatStepsSend) {
  const Dataset data = many_data();
  Config config = quiet_config(GetParam().mode, GetParam().ranks, GetParam().wire);
  config.model.activation = GetParam().activation;
  config.train.optimizer = GetParam().optimizer;
  config.parallel.shard_momentum = GetParam().shard_momentum;
  config.train.batch_size = 60;
  const Traffic few = traffic_of(config, data);
  config.train.batch_size = 30;
  const Traffic many = traffic_of(config, data);
  ASSERT_GT(many.steps, few.steps);

  RankTask task = rank_task(config, data);
  task.ranks = GetParam().ranks;
  task.compute_seconds = 1.0;
  const ModeInfo& mode = find_name(modes(), "mode", GetParam().mode);
  EXPECT_EQ(many.sent - few.sent, (many.steps - few.steps) * mode.forecast(task, config.parallel).sent_bytes);
}

INSTANTIATE_TEST_SUITE_P(
    Modes, EveryForecast,
    ::testing::Values(Case{"sync", 2, "f32", "relu"}, Case{"sync", 2, "bf16", "relu"},
                      Case{"sync", 3, "f32", "srelu"}, Case{"sync", 3, "f32", "relu", "sgd", true},
                      Case{"sync", 2, "bf16", "relu", "adam", true}, Case{"local-sgd", 2, "f32", "relu"},
                      Case{"local-sgd", 3, "bf16", "relu"}, Case{"local-sgd", 2, "f32", "relu", "adam"},
                      Case{"wassp", 2, "f32", "relu"}, Case{"wasap", 2, "f32", "relu"}),
    [](const auto& info) {
      std::string name(info.param.mode);
      std::erase(name, '-');
      return name + std::to_string(info.param.ranks) + info.param.wire + info.param.activation +
             std::string(info.param.optimizer).substr(0, 3) + (info.param.shard_momentum ? "shared" : "");
    });

// 1,000 weights and 12 biases on 4 ranks, links of 1,000 bytes a second and half a second, steps of a second.
RankTask small_task() {
  return {.ranks = 4,
          .arrays = {1000, 12},
          .states = 1,
          .largest_layer = 1000,
          .replica_bytes = 20'000,
          .compute_seconds = 1.0,
          .link = {.bandwidth = 1000.0, .latency = 0.5}};
}

TEST(Forecast, AnExchangeTakesItsBytesAndTwoMessagesOfLatency) {
  const Forecast sync = forecast_sync(small_task(), {});
  EXPECT_EQ(sync.sent_bytes, 4 * (1012 + 2 * 253) + 3 * 24);
  EXPECT_DOUBLE_EQ(sync.seconds, 1.0 + 6.144 + 1.0);
  EXPECT_DOUBLE_EQ(sync.efficiency, 1.0 / 8.144);
  EXPECT_EQ(sync.extra_bytes, 4 * 1012);
  EXPECT_EQ(forecast_sync(small_task(), {.virtual_shards = 16}).extra_bytes, 4 * 1012 * 3);
  EXPECT_EQ(forecast_sync(small_task(), {.wire = "bf16"}).extra_bytes, 6 * 1012);
}

TEST(Forecast, LocalStepsShareAnExchangeOfValuesAndMomentum) {
  const Forecast local = forecast_local_sgd(small_task(), {.local_steps = 10});
  const std::int64_t bytes = 2 * 4 * (1012 + 2 * 253) + 3 * 32;
  EXPECT_EQ(local.sent_bytes, bytes / 10);
  EXPECT_DOUBLE_EQ(local.seconds, 1.0 + (1e-3 * static_cast<double>(bytes) + 2.0) / 10.0);
}

TEST(Forecast, TheLinkOfAServerEndsItsSpeed) {
  RankTask task = small_task();
  const Forecast few = forecast_wasap(task, {});
  task.ranks = 400;
  const Forecast many = forecast_wasap(task, {});
  EXPECT_NEAR(1.0 / many.seconds, 1.0 + 1000.0 / (4 * 1012 + 32), 1e-9);
  EXPECT_LT(many.efficiency, 0.1 * few.efficiency);
}

TEST(RanksPlan, RecommendsSyncOnFastLinksAndAsManyLocalStepsAsSlowOnesNeed) {
  const Dataset data = many_data();
  const Config config = quiet_config("none", 2, "f32");
  const RanksPlan fast = plan_ranks(config, data, {.bandwidth = 1e15, .latency = 0.0});
  EXPECT_EQ(fast.recommended, "sync");
  EXPECT_EQ(fast.local_steps, 0);
  const RanksPlan slow = plan_ranks(config, data, {.bandwidth = 1e15, .latency = 1e3});
  EXPECT_EQ(slow.recommended, "local-sgd");
  EXPECT_EQ(slow.local_steps, 500);  // the most
  ASSERT_EQ(slow.modes.size(), 5u);
  for (const ModePlan& mode : slow.modes) {
    EXPECT_EQ(mode.refused, "");
    EXPECT_EQ(mode.batch, mode.mode.starts_with("was") || mode.mode == "rows" ? 256 : 128) << mode.mode;
  }
}

TEST(RanksPlan, IsThatOfOneRankWithWhatItsMessagesTake) {
  const Dataset data = many_data();
  Config config = quiet_config("sync", 2, "f32");
  const RanksPlan plan = plan_ranks(config, data, {});
  config.parallel = {};
  config.train.batch_size = 128;
  config.train.clip_value = 1.0;  // gradients are kept, as for messages
  const Plan alone = make_plan(config, data);
  const RankTask task = rank_task(config, data);
  EXPECT_EQ(plan.rank.items.back().name, "messages");
  EXPECT_EQ(plan.rank.total(), alone.total() + 4 * task.values());
  EXPECT_EQ(plan.modes.front().rank_bytes, plan.rank.total());
}

TEST(RanksPlan, OfSharedMomentumKeepsAnNthOfIt) {
  const Dataset data = many_data();
  Config config = quiet_config("sync", 4, "f32");
  config.model.hidden = {600, 600};
  const Plan whole = plan_ranks(config, data, {}).rank;
  config.parallel.shard_momentum = true;
  const RanksPlan shared = plan_ranks(config, data, {});
  const auto state_of = [](const Plan& plan) {
    return std::ranges::find(plan.items, "optimizer state", &Plan::Item::name)->bytes;
  };
  EXPECT_NEAR(static_cast<double>(state_of(shared.rank)), static_cast<double>(state_of(whole)) / 4.0, 16.0);
  EXPECT_EQ(whole.total() - shared.rank.total(), state_of(whole) - state_of(shared.rank));
  EXPECT_EQ(shared.modes.front().rank_bytes, shared.rank.total());
}

TEST(RanksPlan, SaysWhyAModeIsNotForThisTraining) {
  Config config = quiet_config("none", 2, "f32");
  config.evolve.update_every = "3 step";
  config.parallel.local_steps = 100;
  const RanksPlan plan = plan_ranks(config, many_data(), {.bandwidth = 1.0, .latency = 1.0});
  for (const ModePlan& mode : plan.modes)
    EXPECT_EQ(mode.refused.empty(), mode.mode == "sync" || mode.mode == "rows")
        << mode.mode << ": " << mode.refused;
  EXPECT_EQ(plan.recommended, "sync");  // rows is for what does not fit
  config.run.storage = "compact";
  EXPECT_THROW((void)plan_ranks(config, many_data(), {}), Error);
}

}  // namespace
}  // namespace tulle::testing
