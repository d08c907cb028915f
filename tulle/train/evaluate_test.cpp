#include "tulle/train/evaluate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "tulle/base/parallel.h"
#include "tulle/nn/test_network.h"

namespace tulle {
namespace {

// A model of two classes whose outputs are its two inputs.
Model copying_model() {
  std::vector<std::unique_ptr<Layer>> layers;
  layers.push_back(std::make_unique<DenseLinear>(LayerOptions{.inputs = 2, .outputs = 2}));
  layers[0]->weight().value = {1, 0, 0, 1};
  return {.network = Network(std::move(layers)), .class_names = {"left", "right"}};
}

Split split_of(const std::vector<std::vector<float>>& rows) {
  Split split;
  split.inputs.samples = static_cast<std::int64_t>(rows.size());
  split.inputs.features = static_cast<std::int32_t>(rows[0].size());
  for (const auto& row : rows) split.inputs.floats.insert(split.inputs.floats.end(), row.begin(), row.end());
  return split;
}

// `count` samples of the class "right"; the model gets every one of `wrong` wrong.
Split right_samples(std::int64_t count, const std::vector<std::int64_t>& wrong) {
  std::vector<std::vector<float>> rows(static_cast<std::size_t>(count), {0.0f, 1.0f});
  for (const std::int64_t sample : wrong) rows[static_cast<std::size_t>(sample)] = {1.0f, 0.0f};
  Split split = split_of(rows);
  split.classes.assign(rows.size(), 1);
  return split;
}

TEST(Evaluate, CoversEverySampleWhateverTheirNumber) {
  // 512 samples are evaluated at a time. A tail that is not evaluated, or counted as class 0, shows.
  Model model = copying_model();
  const double right_loss = std::log1p(std::exp(-1.0)), wrong_loss = std::log1p(std::exp(1.0));
  for (const std::int64_t count : {1, 2, 100, 511, 512, 513, 1023, 1024, 1025, 1300}) {
    const Evaluation result = evaluate(model, right_samples(count, {count - 1}));
    const auto samples = static_cast<double>(count);
    EXPECT_EQ(result.samples, count);
    EXPECT_DOUBLE_EQ(result.accuracy, (samples - 1) / samples) << count;
    EXPECT_NEAR(result.loss, (right_loss * (samples - 1) + wrong_loss) / samples, 1e-6) << count;
    EXPECT_EQ(result.confusion, (std::vector<std::int64_t>{0, 0, 1, count - 1})) << count;
  }
}

TEST(Evaluate, EqualsTheOracleOnANetworkWithDropout) {
  Dice dice;
  Model model{.network = make_network({.sizes = {12, 20, 9, 4}, .densities = {0.4}, .dropout = 0.5}, dice),
              .class_names = {"a", "b", "c", "d"}};
  const oracle::Loss loss{.name = "cross-entropy"};
  const oracle::Batch batch = make_batch(loss.name, 12, 4, 700, dice);
  const oracle::Result wanted = oracle::evaluate(oracle_of(model.network), batch, loss);
  Split split = split_of(batch.inputs);
  split.classes = batch.classes;
  const Evaluation found = evaluate(model, split);
  EXPECT_NEAR(found.loss, wanted.loss_sum / 700, 1e-5 * found.loss);
  std::int64_t counted = 0, diagonal = 0;
  for (std::size_t cell = 0; cell < 16; ++cell) {
    counted += found.confusion[cell];
    if (cell % 5 == 0) diagonal += found.confusion[cell];
  }
  EXPECT_EQ(counted, 700);
  EXPECT_DOUBLE_EQ(found.accuracy, static_cast<double>(diagonal) / 700);
}

TEST(Evaluate, IsTheSameForAnyThreadCount) {
  Dice dice;
  Model model{.network = make_network({.sizes = {12, 20, 4}, .densities = {0.4}}, dice),
              .class_names = {"a", "b", "c", "d"}};
  const oracle::Batch batch = make_batch("cross-entropy", 12, 4, 600, dice);
  Split split = split_of(batch.inputs);
  split.classes = batch.classes;
  set_thread_count(1);
  const double one = evaluate(model, split).loss;
  for (const int threads : {2, 3, 8}) {
    set_thread_count(threads);
    EXPECT_EQ(evaluate(model, split).loss, one) << threads << " threads";
  }
  set_thread_count(0);
}

TEST(Evaluate, MeasuresRegressionByTheMeanSquare) {
  std::vector<std::unique_ptr<Layer>> layers;
  layers.push_back(std::make_unique<DenseLinear>(LayerOptions{.inputs = 1, .outputs = 1}));
  layers[0]->weight().value = {2};
  Model model{.network = Network(std::move(layers)), .loss = "mse"};
  Split split = split_of({{1}, {2}, {3}});
  split.targets = {2, 3, 9};  // off by 0, 1, -3
  const Evaluation result = evaluate(model, split);
  EXPECT_NEAR(result.loss, 10.0 / 3, 1e-12);
  EXPECT_EQ(result.accuracy, 0.0);
  EXPECT_TRUE(result.confusion.empty());
}

TEST(Evaluate, ScalesTheInputsAsTheModelSays) {
  Model model = copying_model();
  model.scaling = {.kind = "standardize", .mean = {100, 0}, .deviation = {1, 1}};
  Split split = split_of({{99, 1}, {99, 1}});
  split.classes = {1, 1};
  EXPECT_EQ(evaluate(model, split).accuracy, 1.0);
}

TEST(Evaluate, RefusesDataWithOtherFeatures) {
  Model model = copying_model();
  Split split = split_of({{1, 2, 3}});
  split.classes = {0};
  EXPECT_THROW(evaluate(model, split), std::invalid_argument);
}

TEST(Predict, AnswersEverySampleInItsOrder) {
  Model model = copying_model();
  for (const std::int64_t count : {1, 513, 1300}) {
    Features inputs{.samples = count, .features = 2};
    for (std::int64_t s = 0; s < count; ++s) {
      inputs.floats.push_back(static_cast<float>(s) / 1000);
      inputs.floats.push_back(0.0f);
    }
    const std::vector<float> found = predict(model, inputs);
    ASSERT_EQ(found.size(), static_cast<std::size_t>(2 * count));
    for (std::size_t s = 0; s < static_cast<std::size_t>(count); ++s) {
      const double left = 1 / (1 + std::exp(-static_cast<double>(s) / 1000));
      EXPECT_NEAR(found[2 * s], left, 1e-6) << "sample " << s;
      EXPECT_NEAR(found[2 * s + 1], 1 - left, 1e-6) << "sample " << s;
    }
  }
}

}  // namespace
}  // namespace tulle
