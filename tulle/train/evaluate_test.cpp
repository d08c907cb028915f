#include "tulle/train/evaluate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "tulle/train/train_testing.h"

namespace tulle::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;

/// One feature, two classes, outputs (x, -x): class 0 where x > 0.
Model sign_model(const std::string& loss = "cross-entropy") {
  std::vector<std::unique_ptr<Layer>> layers;
  layers.push_back(std::make_unique<DenseLinear>(LayerOptions{.inputs = 1, .outputs = 2}));
  Model model{.network = Network(std::move(layers)), .loss = loss, .class_names = {"plus", "minus"}};
  model.network.layer(0).weight().value = {1.0f, -1.0f};
  return model;
}
Split split_of(AlignedVector<float> x, std::vector<std::int32_t> classes) {
  Split split;
  split.inputs = {
      .samples = static_cast<std::int64_t>(x.size()), .features = 1, .bytes = {}, .floats = std::move(x)};
  split.classes = std::move(classes);
  return split;
}

TEST(Evaluate, CountsRightAnswersAndWhichWereTakenForWhich) {
  Model model = sign_model();
  const Evaluation found = evaluate(model, split_of({2, 1, -1, -3, -2}, {0, 0, 0, 1, 1}));
  EXPECT_EQ(found.samples, 5);
  EXPECT_DOUBLE_EQ(found.accuracy, 4.0 / 5.0);
  EXPECT_THAT(found.confusion, ElementsAre(2, 1, 0, 2));  // [true][predicted]
  double loss = 0.0;                                      // log(1 + exp(-2 x)) for class 0, of -x for class 1
  for (const double margin : {2, 1, -1, 3, 2}) loss += std::log1p(std::exp(-2.0 * margin)) / 5.0;
  EXPECT_NEAR(found.loss, loss, 1e-6);
}

TEST(Evaluate, OfMoreClassesThan4096KeepsNoConfusion) {
  constexpr std::int32_t kClasses = 4097;
  std::vector<std::unique_ptr<Layer>> layers;
  layers.push_back(std::make_unique<DenseLinear>(LayerOptions{.inputs = 1, .outputs = kClasses}));
  Model model{.network = Network(std::move(layers)),
              .loss = "cross-entropy",
              .class_names = std::vector<std::string>(kClasses, "c")};
  model.network.layer(0).weight().value[7] = 1.0f;
  const Evaluation found = evaluate(model, split_of({2, 1}, {7, 8}));
  EXPECT_TRUE(found.confusion.empty());
  EXPECT_DOUBLE_EQ(found.accuracy, 0.5);
}

TEST(Evaluate, TakesTheMeanByTheWeightsOfTheSamples) {
  Model model = sign_model();
  Split weighted = split_of({2, -1, -3}, {0, 0, 1}), repeated = split_of({2, 2, -1, -3}, {0, 0, 0, 1});
  weighted.weights = {4, 2, 2};
  EXPECT_NEAR(evaluate(model, weighted).loss, evaluate(model, repeated).loss, 1e-12);
  EXPECT_DOUBLE_EQ(evaluate(model, weighted).accuracy, 3.0 / 4.0);
}

TEST(Evaluate, CoversEverySampleAlsoOfAnIncompleteBatch) {
  Model model = sign_model();
  for (const std::size_t samples : {1, 511, 512, 513, 1025}) {
    AlignedVector<float> x(samples, 1.0f);
    x.back() = -1.0f;  // the last one is wrong
    const Evaluation found = evaluate(model, split_of(x, std::vector<std::int32_t>(samples, 0)));
    EXPECT_EQ(found.samples, static_cast<std::int64_t>(samples));
    EXPECT_DOUBLE_EQ(found.accuracy, static_cast<double>(samples - 1) / static_cast<double>(samples));
    EXPECT_EQ(std::accumulate(found.confusion.begin(), found.confusion.end(), std::int64_t{0}),
              found.samples);
  }
}

TEST(Evaluate, ScalesRawDataAsInTraining) {
  Model model = sign_model();
  model.scaling = {.kind = "standard", .mean = {10}, .deviation = {2}};
  EXPECT_EQ(evaluate(model, split_of({11, 9}, {0, 1})).accuracy, 1.0);
}

TEST(Evaluate, HasNoDropoutAndGivesTheSameBitsForAnyThreads) {
  const Dataset data = small_data();
  tulle::Run run = start_run(small_config(), data);
  const Evaluation once = evaluate(run.model, data.train);
  const Threads use(3);
  EXPECT_EQ(evaluate(run.model, data.train).loss, once.loss);
  Config without = small_config();
  without.model.dropout = 0.0;
  tulle::Run same = start_run(without, data);
  // The start values know the dropout; make them the same.
  for (std::size_t p = 0; p < run.model.network.parameters().size(); ++p)
    same.model.network.parameters()[p]->value = run.model.network.parameters()[p]->value;
  EXPECT_EQ(evaluate(same.model, data.train).loss, once.loss);
}

TEST(Evaluate, CountsANumberThatDoesNotCompareAsWrong) {
  Model model = sign_model();
  model.network.layer(0).weight().value = {kNan, kNan};
  const Evaluation found = evaluate(model, split_of({1}, {0}));
  EXPECT_EQ(found.accuracy, 0.0);
  EXPECT_THAT(found.confusion, ElementsAre(0, 0, 0, 0));
}

TEST(Evaluate, RefusesLabelsAndFeaturesThatAreNotTheModels) {
  Model model = sign_model();
  EXPECT_THROW(evaluate(model, split_of({1, 2}, {0})), std::invalid_argument);
  EXPECT_THROW(evaluate(model, split_of({1}, {})), std::invalid_argument);
  EXPECT_THROW(evaluate(model, split_of({1}, {2})), std::invalid_argument);
  EXPECT_THROW(evaluate(model, split_of({1}, {-1})), std::invalid_argument);
  EXPECT_THROW(evaluate(model, split_of({}, {})), std::invalid_argument);
  Split wide = split_of({1, 2}, {0});
  wide.inputs.samples = 1, wide.inputs.features = 2;
  EXPECT_THROW(evaluate(model, wide), std::invalid_argument);
}

TEST(MeanActivations, AreThoseOfEverySampleWithoutDropoutForAnyThreads) {
  const Dataset data = small_data();
  tulle::Run run = start_run(small_config(), data);
  const auto means = mean_activations(run.model, data.train, 16);
  ASSERT_EQ(means.size(), 2u);
  // The oracle: sample after sample, a batch of its own.
  std::vector<std::vector<double>> wanted{std::vector<double>(24), std::vector<double>(16)};
  Loader loader(data.train, data.scaling, 1, true, 1);
  loader.start_epoch(0, false);
  for (std::int64_t s = 0; s < 52; ++s) {
    (void)run.model.network.forward({}, loader.get(s, run.model.network.panel_width(1)).inputs);
    for (std::size_t l = 0; l < 2; ++l)
      for (std::size_t j = 0; j < wanted[l].size(); ++j)
        wanted[l][j] += run.model.network.activations(l).at(0, static_cast<std::int32_t>(j)) / 52.0;
  }
  for (std::size_t l = 0; l < 2; ++l)
    for (std::size_t j = 0; j < wanted[l].size(); ++j) EXPECT_NEAR(means[l][j], wanted[l][j], 1e-6);
  const Threads three(3);
  EXPECT_EQ(mean_activations(run.model, data.train, 16), means);
}

TEST(Predict, GivesOneRowPerSampleInTheirOrder) {
  Model model = sign_model("mse");
  AlignedVector<float> x(700);
  std::iota(x.begin(), x.end(), -350.0f);
  const std::vector<float> found = predict(model, split_of(x, {}).inputs);
  ASSERT_EQ(found.size(), 1400u);
  for (std::size_t i = 0; i < x.size(); ++i) {
    EXPECT_EQ(found[2 * i], x[i]);
    EXPECT_EQ(found[2 * i + 1], -x[i]);
  }
}

TEST(Predict, GivesProbabilitiesAsTheLossMeansThem) {
  const Features inputs = split_of({1}, {}).inputs;
  Model softmax = sign_model(), sigmoid = sign_model("bce");
  EXPECT_THAT(predict(softmax, inputs),
              ElementsAre(FloatNear(0.880797f, 1e-6f), FloatNear(0.119203f, 1e-6f)));
  EXPECT_THAT(predict(sigmoid, inputs),
              ElementsAre(FloatNear(0.731059f, 1e-6f), FloatNear(0.268941f, 1e-6f)));
}

}  // namespace
}  // namespace tulle::testing
