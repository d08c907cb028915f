#include "tulle/train/build.h"
#include "tulle/base/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tulle/train/train_testing.h"

namespace tulle::testing {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

// 784 features and 10 classes without a single sample: a model needs no more.
Dataset shape_of_fashion_mnist() {
  Dataset data;
  data.train.inputs.features = 784;
  for (char c = '0'; c <= '9'; ++c) data.class_names.emplace_back(1, c);
  return data;
}

std::vector<std::int64_t> connections(const Model& model) {
  std::vector<std::int64_t> counts;
  for (std::size_t l = 0; l < model.network.size(); ++l)
    counts.push_back(model.network.layer(l).connections());
  return counts;
}

TEST(BuildModel, GivesTheNetworkOfTheTextbookRecipeItsConnections) {
  const Model model = build_model(Config(), shape_of_fashion_mnist());
  EXPECT_THAT(connections(model), ElementsAre(35680, 40000, 40000, 10000));
  EXPECT_NE(model.network.layer(2).topology(), nullptr);
  EXPECT_EQ(model.network.layer(3).topology(), nullptr);  // all of its cells: a dense matrix
  EXPECT_EQ(model.class_names.size(), 10u);
  EXPECT_EQ(model.loss, "cross-entropy");
}

TEST(BuildModel, GivesHiddenLayersActivationAndDropoutAndTheLastOneNeither) {
  Config config = small_config();
  config.model.activation = "leaky-relu";
  config.model.alpha = 0.1;
  const Model model = build_model(config, small_data());
  EXPECT_THAT(layer_sizes(config, small_data()), ElementsAre(12, 24, 16, 3));
  for (std::size_t l = 0; l < 2; ++l) {
    EXPECT_EQ(model.network.layer(l).options().activation, "leaky-relu");
    EXPECT_EQ(model.network.layer(l).options().alpha, 0.1);
    EXPECT_EQ(model.network.layer(l).options().dropout, 0.2);
  }
  EXPECT_EQ(model.network.layer(2).options().activation, "identity");
  EXPECT_EQ(model.network.layer(2).options().dropout, 0.0);
}

TEST(BuildModel, ARegressionHasOneOutput) {
  Dataset data = small_data();
  data.class_names.clear();
  Config config = small_config();
  EXPECT_THROW(build_model(config, data), Error);  // cross-entropy needs classes
  config.model.loss = "mse";
  EXPECT_EQ(build_model(config, data).network.outputs(), 1);
}

TEST(BuildModel, SetsOfLabelsNeedALossThatTakesThem) {
  Dataset data = small_data();
  data.train.classes.clear();
  data.train.sets = {.row_ptr = {0}, .labels = {}, .count = 3};
  for (std::int64_t i = 0; i < data.train.inputs.samples; ++i) data.train.sets.row_ptr.push_back(0);
  Config config = small_config();
  EXPECT_THROW(build_model(config, data), Error);
  config.model.loss = "bce";
  EXPECT_EQ(build_model(config, data).network.outputs(), 3);
}

TEST(BuildModel, DrawsWeightsFromTheLawAndBiasesAreZero) {
  // he-uniform, dense fan: uniform within sqrt(6 / n_in) of zero.
  Model model = build_model(Config(), shape_of_fashion_mnist());
  for (std::size_t l = 0; l < 4; ++l) {
    const auto limit = static_cast<float>(std::sqrt(6.0 / model.network.layer(l).inputs()));
    const auto [low, high] = std::ranges::minmax(model.network.layer(l).weight().value);
    EXPECT_LE(high, limit);
    EXPECT_GE(low, -limit);
    EXPECT_GT(high, 0.99f * limit);  // of 10000 values none above: e^-50
    EXPECT_LT(low, -0.99f * limit);
    EXPECT_THAT(model.network.layer(l).bias().value, Each(0.0f));
  }
}

TEST(BuildModel, CountsTheConnectionsThatExistIfTheFanIsSparse) {
  Config config;
  config.topology.fan = "sparse";
  Model model = build_model(config, shape_of_fashion_mnist());
  // 45 connections into a neuron on average instead of 784: far larger weights.
  const auto [low, high] = std::ranges::minmax(model.network.layer(0).weight().value);
  EXPECT_GT(high, 2.0f * std::sqrt(6.0f / 784));
  config.topology.weight_init = "zero";
  EXPECT_THAT(build_model(config, shape_of_fashion_mnist()).network.layer(0).weight().value, Each(0.0f));
}

// The rows of a layer, in the order of their sources.
std::vector<std::vector<std::int32_t>> sorted_rows(const Topology& topology) {
  std::vector<std::vector<std::int32_t>> rows;
  for (std::int32_t r = 0; r < topology.rows(); ++r)
    rows.emplace_back(topology.row(r).begin(), topology.row(r).end());
  std::ranges::sort(rows);
  return rows;
}

TEST(BuildModel, NumbersHiddenNeuronsByTheirFirstSourcesAndDrawsTheSameRows) {
  Config config;
  config.topology.epsilon = 2.0;
  config.topology.fan = "sparse";
  const Model drawn = build_model(config, shape_of_fashion_mnist());
  config.topology.numbering = "by-source";
  const Model numbered = build_model(config, shape_of_fashion_mnist());
  for (std::size_t l = 0; l < 4; ++l) {
    const Topology &before = *drawn.network.layer(l).topology(), &now = *numbered.network.layer(l).topology();
    EXPECT_EQ(sorted_rows(now), sorted_rows(before)) << l;
    EXPECT_EQ(now == before, l == 3) << l;  // outputs keep their places
    const AlignedVector<float>& weights = numbered.network.layer(l).weight().value;
    std::size_t k = 0;
    std::int32_t previous = -1;
    for (std::int32_t r = 0; r < now.rows(); ++r) {
      const std::int32_t first = now.row(r).empty() ? now.cols() : now.row(r).front();
      if (l < 3) {
        ASSERT_GE(first, previous) << l << ", row " << r;
      }
      previous = first;
      for (std::size_t i = 0; i < now.row(r).size(); ++i, ++k)  // the law of the row that is there now
        ASSERT_LE(std::abs(weights[k]), std::sqrt(6.0f / static_cast<float>(now.row(r).size())));
    }
  }
}

TEST(BuildModel, NumbersNeuronsAlikeInBothStorages) {
  Config config = small_config();
  config.topology.numbering = "by-source";
  tulle::Run fast = start_run(config, small_data());
  config.run.storage = "compact";
  tulle::Run compact = start_run(config, small_data());
  EXPECT_EQ(bits_of(compact.model.network), bits_of(fast.model.network));
}

TEST(BuildModel, GrowsByTheLawOfTheStartOrFromZero) {
  Config config;
  config.topology.fan = "sparse";
  EXPECT_EQ(evolution_of(config).law.law, weight_law(config).law);
  EXPECT_EQ(weight_law(config).law->name, "he-uniform");
  EXPECT_TRUE(evolution_of(config).law.sparse_fan);
  config.evolve.grow_init = "zero";
  EXPECT_EQ(evolution_of(config).law.law->name, "zero");
}

TEST(BuildModel, AnotherSeedChangesTopologyAndWeightsAndTheSameOneNothing) {
  const Dataset data = small_data();
  Config config = small_config();
  const auto start = [&] {
    tulle::Run run = start_run(config, data);
    return bits_of(run.model.network);
  };
  const Bits first = start();
  EXPECT_EQ(start(), first);
  config.run.seed = 2;
  const Bits second = start();
  for (const char* name : {"0 columns", "1 columns", "layers.0.weight", "layers.1.weight", "layers.2.weight"})
    EXPECT_NE(second.at(name), first.at(name)) << name;
}

TEST(BuildModel, KeepsWhatPredictionsNeedAndWhatItWasMadeFrom) {
  Dataset data = small_data();
  data.image = {.channels = 1, .height = 3, .width = 4};
  Config config = small_config();
  config.run.seed = 9;
  config.model.loss = "bce";
  const tulle::Run run = start_run(config, data);
  EXPECT_EQ(run.model.loss, "bce");
  EXPECT_EQ(run.model.scaling.mean, data.scaling.mean);
  EXPECT_EQ(run.model.image.width, 4);
  EXPECT_EQ(run.model.seed, 9u);
  EXPECT_EQ(run.model.config, learning_config(config));
  EXPECT_EQ(run.state.data_identity, data_identity(data.train));
}

TEST(DataOptionsOfConfig, AreTheKeysOfItsSection) {
  Config config;
  config.run.seed = 5;
  config.data = {.format = "csv",
                 .train = "a",
                 .train_labels = "b",
                 .test = "c",
                 .test_labels = "d",
                 .valid_fraction = 0.25,
                 .scale = "unit",
                 .sep = ";",
                 .header = "yes",
                 .label_column = "first",
                 .max_rows = 7,
                 .nan = "drop",
                 .ignore_unknown_labels = true};
  const DataOptions options = data_options(config);
  EXPECT_EQ(options.format, "csv");
  EXPECT_EQ(options.train + options.train_labels + options.test + options.test_labels, "abcd");
  EXPECT_EQ(options.valid_fraction, 0.25);
  EXPECT_EQ(options.scale, "unit");
  EXPECT_EQ(options.sep, ";");
  EXPECT_EQ(options.header, "yes");
  EXPECT_EQ(options.label_column, "first");
  EXPECT_EQ(options.max_rows, 7);
  EXPECT_EQ(options.nan, "drop");
  EXPECT_EQ(options.seed, 5u);
  EXPECT_TRUE(options.ignore_unknown_labels);
}

}  // namespace
}  // namespace tulle::testing
