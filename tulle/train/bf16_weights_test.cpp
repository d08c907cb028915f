// Trainings whose weights are kept in bfloat16 (model.weights).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tulle/checkpoint/safetensors.h"
#include "tulle/nn/bf16_weights.h"
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

Config bf16_config() {
  Config config = small_config();
  config.topology.epsilon = 1.5;
  config.model.weights = "bf16";
  return config;
}

TEST(Bf16Weights, TrainTheSameBitsWithAnyNumberOfThreadsThroughTopologyEvents) {
  const Dataset data = small_data();
  for (const std::int64_t batch : {4, 16}) {
    Config config = bf16_config();
    config.train.batch_size = batch;
    const Bits one = [&] {
      const Threads use(1);
      return trained(start_run(config, data), data);
    }();
    EXPECT_FALSE(one.at("layers.0.weight.bf16_value").empty());
    EXPECT_FALSE(one.at("layers.0.weight.bf16_m1").empty());
    EXPECT_TRUE(one.at("layers.0.weight").empty());
    for (const int threads : {2, 3, 4}) {
      const Threads use(threads);
      EXPECT_TRUE(trained(start_run(config, data), data) == one) << threads;
    }
  }
}

TEST(Bf16Weights, EvolveByEveryChoiceThatLooksAtOtherLayers) {
  const Dataset data = small_data();
  for (const char* choice : {"global", "chains", "redistribute", "density"}) {
    Config config = bf16_config();
    config.evolve.drop = "magnitude";
    if (choice == std::string("global")) config.evolve.scope = "global";
    if (choice == std::string("chains")) config.evolve.chain_removal = true;
    if (choice == std::string("redistribute")) config.evolve.redistribute = "nonzeros";
    if (choice == std::string("density")) config.evolve.final_density = 0.02;
    const Bits bits = trained(start_run(config, data), data);
    EXPECT_FALSE(bits.at("layers.0.weight.bf16_value").empty()) << choice;
    EXPECT_TRUE(bits.at("layers.0.weight").empty()) << choice;
  }
}

TEST(Bf16Weights, GoOnFromACheckpointWithTheSameBits) {
  const Dataset data = small_data();
  for (const double momentum : {0.0, 0.9}) {
    Config config = bf16_config();
    config.train.momentum = momentum;
    const Bits expected = trained(start_run(config, data), data);
    EXPECT_EQ(expected.at("layers.0.weight.bf16_m1").empty(), momentum == 0.0);

    const TemporaryDirectory folder;
    config.checkpoint.save_every = "1 step";
    const std::string checkpoint = stopped_in_the_middle(config, data, folder / "run");
    EXPECT_TRUE(trained(resume_run(config, data, checkpoint), data) == expected) << momentum;
    Config floats = config;
    floats.model.weights = "f32";
    EXPECT_THAT(refusal([&] { resume_run(floats, data, checkpoint); }, ErrorKind::kConfig),
                HasSubstr("model.weights"));
  }
}

TEST(Bf16Weights, AreInTheFileAsTheyAreAndFloatsForWhoReadsIt) {
  const Dataset data = small_data();
  tulle::Run run = start_run(bf16_config(), data);
  const TemporaryDirectory folder;
  const std::string path = folder / "model.safetensors";
  save_model(path, run.model);
  const SafetensorsFile file = SafetensorsFile::read(path);
  EXPECT_EQ(file.find("layers.1.weight.val")->dtype, DType::BF16);
  EXPECT_EQ(file.find("layers.1.bias")->dtype, DType::BF16);
  LoadedModel floats = load_model(path), kept = load_model(path, Storage::kCompact, /*keep_bf16=*/true);
  for (std::size_t l = 0; l < 3; ++l) {
    const Parameter& weight = run.model.network.layer(l).weight();
    EXPECT_TRUE(std::ranges::equal(values_of(floats.model.network.layer(l).weight()), values_of(weight)));
    EXPECT_FALSE(floats.model.network.layer(l).weight().is_bf16());
    EXPECT_EQ(kept.model.network.layer(l).weight().bf16_value, weight.bf16_value);
  }
  const Evaluation now = evaluate(run.model, data.test), then = evaluate(floats.model, data.test);
  EXPECT_EQ(now.accuracy, then.accuracy);
  EXPECT_EQ(now.loss, then.loss);
}

TEST(Bf16Weights, TellTheirLargestWhereATrainingDiverges) {
  const Dataset data = small_data();
  Config config = bf16_config();
  config.train.learning_rate = 1e20;
  const std::string line = refusal([&] { trained(start_run(config, data), data); }, ErrorKind::kDiverged);
  EXPECT_THAT(line, HasSubstr("largest weight"));
  EXPECT_THAT(line, ::testing::Not(HasSubstr("largest weight 0 ")));
}

TEST(Bf16Weights, AreRefusedWhereTheyCannotBe) {
  const Dataset data = small_data();
  const auto found = [&](const auto& change) {
    Config config = bf16_config();
    change(config);
    return refusal([&] { start_run(config, data); }, ErrorKind::kConfig);
  };
  const std::string line = "model.weights, found 'bf16', expected 'f32' with ";
  EXPECT_THAT(found([](Config& c) { c.run.storage = "fast"; }), HasSubstr(line + "run.storage = \"fast\""));
  EXPECT_THAT(found([](Config& c) { c.train.optimizer = "adam"; }), HasSubstr(line + "train.optimizer"));
  EXPECT_THAT(found([](Config& c) { c.train.ema_decay = 0.9; }), HasSubstr(line + "train.ema_decay"));
  EXPECT_THAT(found([](Config& c) { c.train.clip_norm = 1.0; }), HasSubstr(line + "clipped gradients"));
  EXPECT_THAT(found([](Config& c) { c.evolve.rule = "rigl"; }), HasSubstr(line + "evolve.rule"));
  EXPECT_THAT(found([](Config& c) { c.evolve.importance_percentile = 5; }),
              HasSubstr(line + "evolve.importance_percentile"));
  EXPECT_THAT(found([](Config& c) { c.parallel.ranks = 2; }), HasSubstr(line + "gradients shared by ranks"));
}

// The gate of experiments/scale/bf16.sh in small, with a tolerance for 1,500 test samples and one seed.
TEST(Bf16Weights, LearnAsWellAsFloats) {
  Dataset data;
  data.train = blobs(900, 1);
  data.test = blobs(1500, 2);
  for (Split* split : {&data.train, &data.test})  // classes that overlap
    for (std::size_t i = 0; i < split->inputs.floats.size(); ++i)
      split->inputs.floats[i] += 2.0f * Random{.seed = 5}.normal(i + (split == &data.test ? 1u << 20 : 0u));
  data.class_names = {"a", "b", "c"};
  data.scaling = fit_scaling("standard", data.train.inputs);
  double accuracy[2];
  for (const bool bf16 : {false, true}) {
    Config config = bf16_config();
    config.model.weights = bf16 ? "bf16" : "f32";
    config.model.hidden = {100, 100};
    config.train.epochs = 15;
    config.train.learning_rate = 0.01;
    tulle::Run run = start_run(config, data);
    Observer nobody;
    Signals none;
    train(run, data, nullptr, nobody, none);
    accuracy[bf16 ? 1 : 0] = evaluate(run.model, data.test).accuracy;
  }
  EXPECT_GT(accuracy[0], 0.6) << "does this still learn?";
  EXPECT_LT(accuracy[0], 0.98) << "can this still tell?";
  EXPECT_GT(accuracy[1], accuracy[0] - 0.03);
}

TEST(Bf16Weights, ArePlannedAsTheyAre) {
  Config config = bf16_config();
  config.data.format = "synthetic";
  config.data.features = 8192;
  config.data.scale = "none";
  config.synthetic.samples = 64;
  config.synthetic.test_samples = 0;
  config.model.hidden = {300000, 300000};
  config.topology.distribution = "uniform";  // no layer is dense
  config.topology.density = 1e-4;
  const Dataset data = load_dataset(data_options(config));
  const Plan plan = make_plan(config, data);
  EXPECT_EQ(plan.storage, Storage::kCompact);
  const auto bytes = [&](const Plan& of, const std::string& name) {
    for (const Plan::Item& item : of.items)
      if (item.name == name) return item.bytes;
    return std::int64_t{-1};
  };
  EXPECT_EQ(bytes(plan, "weights"), 2 * plan.connections);
  EXPECT_EQ(bytes(plan, "optimizer state"), 2 * plan.connections);
  EXPECT_EQ(bytes(plan, "biases"), 4 * plan.neurons);
  config.train.momentum = 0.0;
  EXPECT_EQ(bytes(make_plan(config, data), "optimizer state"), 0);
  config.train.momentum = 0.9;
  config.train.epochs = 2;  // an event between them
  expect_memory(config, data, plan.total());
}

}  // namespace
}  // namespace tulle::testing
