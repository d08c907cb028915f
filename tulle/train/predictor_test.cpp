#include "tulle/train/predictor.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tulle/base/allocations_testing.h"
#include "tulle/base/random.h"
#include "tulle/nn/dense_linear.h"
#include "tulle/nn/sparse_linear.h"
#include "tulle/sparse/sampling.h"
#include "tulle/train/evaluate.h"

namespace tulle {
namespace {

constexpr std::int32_t kFeatures = 40, kSamples = 150;

// 40 scaled features, 60 hidden neurons, three classes.
Model scaled_model() {
  std::vector<std::unique_ptr<Layer>> layers;
  layers.push_back(std::make_unique<SparseLinear>(
      LayerOptions{.inputs = kFeatures, .outputs = 60, .activation = "all-relu"},
      random_topology(60, kFeatures, 500, {.seed = 1})));
  layers.push_back(std::make_unique<DenseLinear>(LayerOptions{.index = 1, .inputs = 60, .outputs = 3}));
  Model model{.network = Network(std::move(layers)), .class_names = {"a", "b", "c"}};
  const Random random{.seed = 2};
  for (Parameter* parameter : model.network.parameters())
    for (std::size_t k = 0; k < parameter->value.size(); ++k) parameter->value[k] = 0.3f * random.normal(k);
  model.scaling.kind = "standard";
  for (std::int32_t f = 0; f < kFeatures; ++f) {
    model.scaling.mean.push_back(static_cast<float>(f));
    model.scaling.deviation.push_back(f == 7 ? 0.0f : 1.0f + static_cast<float>(f % 3));
  }
  return model;
}

Features raw_inputs() {
  Features inputs{.samples = kSamples, .features = kFeatures, .bytes = {}, .floats = {}};
  const Random random{.seed = 3};
  for (std::int64_t i = 0; i < kSamples * kFeatures; ++i)
    inputs.floats.push_back(static_cast<float>(i % kFeatures) +
                            2.0f * random.normal(static_cast<std::uint64_t>(i)));
  return inputs;
}

TEST(Predictor, GivesWhatPredictGivesWhateverTheBatch) {
  Model model = scaled_model();
  const Features inputs = raw_inputs();
  const std::vector<float> expected = predict(model, inputs);
  for (const std::int32_t batch : {1, 2, 64, 149, 150, 512}) {
    Predictor predictor(model, batch);
    EXPECT_EQ(predictor.features(), kFeatures);
    EXPECT_EQ(predictor.outputs(), 3);
    std::vector<float> found(expected.size());
    predictor.predict(inputs.floats, found);
    for (std::size_t i = 0; i < found.size(); ++i)  // the dense layer's sums round in another order
      ASSERT_NEAR(found[i], expected[i], 1e-6f) << "batch " << batch << ", value " << i;
  }
}

TEST(Predictor, AllocatesNothingInACall) {
  Model model = scaled_model();
  const Features inputs = raw_inputs();
  std::vector<float> found(kSamples * 3);
  const std::vector<kernels::ByteScale> scales = calibrate(model, inputs);
  for (const std::int32_t batch : {1, 64})
    for (const Precision precision : {Precision::kFloat, Precision::kBf16, Precision::kInt8}) {
      Predictor predictor(model, batch, {.precision = precision, .scales = scales});
      const auto call = [&] {
        predictor.predict(std::span(inputs.floats).first(kFeatures), std::span(found).first(3));
      };
      call();
      const std::size_t before = testing::g_allocations;
      for (int i = 0; i < 5; ++i) call();
      EXPECT_EQ(testing::g_allocations - before, 0u) << "batch " << batch << ", " << name_of(precision);
    }
  const std::size_t before = testing::g_allocations;
  const std::vector<int> seen(100);
  EXPECT_GT(testing::g_allocations, before) << "the test counts";
}

TEST(Predictor, RunsInThePrecisionOfTheTrainingUnlessToldOtherwise) {
  Model model = scaled_model();
  EXPECT_EQ(make_inference(model, 1).panel_width(), 1);
  std::vector<std::unique_ptr<Layer>> layers;
  layers.push_back(std::make_unique<SparseLinear>(
      LayerOptions{.inputs = 4, .outputs = 4, .precision = Precision::kBf16}, full_topology(4, 4)));
  Model rounded{.network = Network(std::move(layers))};
  for (float& weight : rounded.network.layer(0).weight().value) weight = 1.0f;
  PanelBuffer memory;
  const Panels<float> x = memory.view(4, 1, 1);
  for (std::int32_t f = 0; f < 4; ++f) x.at(0, f) = 1.0f + 1e-3f;  // 1 in bfloat16
  EXPECT_EQ(make_inference(rounded, 1).forward(x).at(0, 0), 4.0f);
  EXPECT_GT(make_inference(rounded, 1, {.precision = Precision::kFloat, .scales = {}}).forward(x).at(0, 0),
            4.0f);
}

TEST(Predictor, RefusesSizesThatDoNotFitAndCalibrationWithoutInputs) {
  Model model = scaled_model();
  Predictor predictor(model, 8);
  std::vector<float> in(2 * kFeatures), out(6);
  EXPECT_THROW(predictor.predict(std::span(in).first(kFeatures + 1), out), std::invalid_argument);
  EXPECT_THROW(predictor.predict(in, std::span(out).first(5)), std::invalid_argument);
  EXPECT_NO_THROW(predictor.predict(in, out));
  EXPECT_THROW(calibrate(model, {}), std::invalid_argument);
  EXPECT_THROW(make_inference(model, 8, {.precision = Precision::kInt8, .scales = {}}),
               std::invalid_argument);
}

TEST(Evaluate, InBytesFindsWhatFloatsFindUpToAFewSamples) {
  Model model = scaled_model();
  Split split;
  split.inputs = raw_inputs();
  const std::vector<float> outputs = predict(model, split.inputs);
  for (std::size_t i = 0; i < kSamples; ++i)
    split.classes.push_back(
        static_cast<std::int32_t>(std::max_element(outputs.begin() + static_cast<std::ptrdiff_t>(3 * i),
                                                   outputs.begin() + static_cast<std::ptrdiff_t>(3 * i + 3)) -
                                  (outputs.begin() + static_cast<std::ptrdiff_t>(3 * i))));
  EXPECT_EQ(evaluate(model, split).accuracy, 1.0);
  const Evaluation bytes =
      evaluate(model, split, {.precision = Precision::kInt8, .scales = calibrate(model, split.inputs)});
  EXPECT_GT(bytes.accuracy, 0.95);
}

}  // namespace
}  // namespace tulle
