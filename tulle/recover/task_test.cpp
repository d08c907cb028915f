#include "tulle/recover/task.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tulle/base/error.h"
#include "tulle/nn/loss.h"
#include "tulle/recover/compare.h"
#include "tulle/recover/recover_testing.h"

namespace tulle::testing {
namespace {

using ::testing::HasSubstr;

// The model's own outputs: [sample][output].
std::vector<float> run(Model& model, const Samples& x, std::int32_t features) {
  PanelBuffer memory;
  const auto batch = static_cast<std::int32_t>(x.count());
  const Panels<float> inputs = memory.view(features, batch, model.network.panel_width(batch));
  for (std::int32_t c = 0; c < features; ++c)
    for (std::int32_t i = 0; i < batch; ++i) inputs.at(i, c) = x.column(c)[i];
  const Panels<const float> z = model.network.forward({}, inputs);
  std::vector<float> out;
  for (std::int32_t i = 0; i < batch; ++i)
    for (std::int32_t o = 0; o < z.features; ++o) out.push_back(z.at(i, o));
  return out;
}

TEST(ToModel, GivesTheOutputsOfTheNet) {
  for (const std::int64_t layers : {1, 2, 3}) {
    const RecoverTask task = planted_task({.samples = 300,
                                           .features = 20,
                                           .hidden_width = 9,
                                           .nnz = 36,
                                           .hidden_layers = layers,
                                           .mixed_signs = true,
                                           .seed = 2});
    Model model = to_model(task, *task.planted, 1);
    EXPECT_EQ(model.network.size(), static_cast<std::size_t>(layers + 1));
    EXPECT_EQ(model.network.connections(), task.planted->unfused_nonzeros());
    const std::vector<float> out = run(model, task.x, 20);
    for (std::size_t i = 0; i < out.size(); ++i)
      EXPECT_NEAR(static_cast<double>(out[i]), task.y[i], 1e-4) << layers;
  }
}

TEST(ToModel, MakesAConstantFeatureABias) {
  Dataset data;
  data.train.inputs = {
      .samples = 4, .features = 2, .bytes = {}, .floats = {1, 2, 3, 4, 5, 6, 7, 8}, .sparse = {}};
  data.train.targets = {1, 2, 3, 4};
  const RecoverTask task = data_task(std::move(data), true);
  ASSERT_EQ(task.x.features(), 3);
  SparseWeights w(1, 3, {0, 2}, {2.0, -3.0});
  w.blocks()[0].sign = -1;
  const SparseNet net{.weights = w};
  Model model = to_model(task, net, 1);
  EXPECT_EQ(model.network.inputs(), 2);
  const std::vector<float> out = run(model, task.x, 2);
  const std::vector<double> wanted = net_outputs(task.x, net);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(static_cast<double>(out[i]), wanted[i], 1e-5);
}

TEST(ToModel, LetsTwoClassesWinAtOneHalf) {
  Dataset data;
  data.train.inputs = {
      .samples = 4, .features = 1, .bytes = {}, .floats = {0.1f, 0.4f, 0.6f, 2.0f}, .sparse = {}};
  data.train.classes = {0, 0, 1, 1};
  data.class_names = {"no", "yes"};
  const RecoverTask task = data_task(std::move(data), false);
  EXPECT_EQ(task.outputs, 1);
  const SparseNet net{.weights = SparseWeights(1, 1, {0}, {1.0})};
  EXPECT_EQ(measure(task, false, net_outputs(task.x, net)).accuracy, 1.0);
  Model model = to_model(task, net, 1);
  const std::vector<float> out = run(model, task.x, 1);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(out[2 * i + 1] > out[2 * i], i >= 2) << i;
}

// The outputs of a model and of the weights it becomes again.
void expect_equal_outputs(Model& model, const RecoverTask& task, std::int64_t neurons,
                          std::int32_t features) {
  const std::vector<float> out = run(model, task.x, features);
  const std::vector<double> found = net_outputs(task.x, {.weights = to_weights(model, task, neurons)});
  const std::size_t width = out.size() / static_cast<std::size_t>(task.x.count());
  for (std::size_t i = 0; i < static_cast<std::size_t>(task.x.count()); ++i) {
    const double wanted = out[width * i + width - 1] - (width == 2 ? out[2 * i] - 0.5 : 0.0);
    EXPECT_NEAR(found[i], wanted, 1e-4) << i;
  }
}

// What to_weights() says against it.
std::string refusal(const Model& model, const RecoverTask& task, std::int64_t neurons) {
  try {
    (void)to_weights(model, task, neurons);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(ToWeights, BringsAModelBack) {
  const RecoverTask task = planted_task(
      {.samples = 300, .features = 20, .hidden_width = 9, .nnz = 36, .mixed_signs = true, .seed = 2});
  Model model = to_model(task, *task.planted, 1);
  expect_equal_outputs(model, task, 9, 20);
  model.network.layer(1).weight().value[0] = -2.5f;  // as training leaves it
  expect_equal_outputs(model, task, 12, 20);
}

TEST(ToWeights, MakesBiasesWeightsOfTheConstantFeature) {
  for (const bool classes : {false, true}) {
    Dataset data;
    data.train.inputs = {
        .samples = 4, .features = 2, .bytes = {}, .floats = {1, 2, 3, 4, -5, 6, 7, -8}, .sparse = {}};
    data.train.targets = {1, 2, 3, 4};
    if (classes) {
      data.train.classes = {0, 0, 1, 1};
      data.class_names = {"no", "yes"};
    }
    const RecoverTask task = data_task(std::move(data), true);
    SparseWeights w(3, 3, {0, 2, 7}, {2.0, -3.0, 1.0});
    w.blocks()[0].sign = -1;
    Model model = to_model(task, {.weights = w}, 1);
    expect_equal_outputs(model, task, 3, 2);
    for (float& bias : model.network.layer(0).bias().value) bias += 0.25f;
    model.network.layer(1).bias().value.back() = -0.75f;
    expect_equal_outputs(model, task, 3, 2);
    EXPECT_THAT(refusal(model, task, 2), HasSubstr("hidden neurons, found 3, expected at most 2"));
  }
}

TEST(ToWeights, RefusesWhatIsNoSuchNet) {
  const auto planted = [](std::int64_t features, std::int64_t layers) {
    return planted_task({.samples = 50, .features = features, .nnz = 36, .hidden_layers = layers, .seed = 2});
  };
  const RecoverTask task = planted(20, 1), deep = planted(20, 2);
  EXPECT_THAT(refusal(to_model(deep, *deep.planted, 1), task, 10),
              HasSubstr("network, found 3 layers and 1 outputs"));
  EXPECT_THAT(refusal(to_model(task, *task.planted, 1), planted(19, 1), 10),
              HasSubstr("features, found 20, expected 19"));
  Model scaled = to_model(task, *task.planted, 1);
  scaled.scaling = {
      .kind = "unit", .mean = std::vector<float>(20), .deviation = std::vector<float>(20, 255.0f)};
  EXPECT_THAT(refusal(scaled, task, 10), HasSubstr("scaling, found 'unit'"));
  Model biased = to_model(task, *task.planted, 1);
  biased.network.layer(0).bias().value[0] = 1.0f;
  EXPECT_THAT(refusal(biased, task, 10), HasSubstr("biases, found some, expected none without recover.bias"));
}

TEST(Compare, MatchesNeuronsInAnyOrderAndJoinsThoseThatAreOne) {
  const SparseWeights planted(4, 5, {0, 2, 8, 11, 16}, {1.0, -2.0, 0.5, 3.0, 1.5});
  // Neuron 3 has feature 1 alone, as neuron 2 has: with one sign they are one.
  const SparseWeights found(4, 5, {3, 6, 15, 17}, {0.5, 4.5, 1.0, -2.0});
  const LayerMatch match = match_layers(found, planted);
  EXPECT_EQ(match.planted, 4);
  EXPECT_TRUE(match.exact());
  EXPECT_LT(match.weight_error, 1e-12);
  const SparseWeights other(4, 5, {3, 6, 15, 18}, {0.5, 4.5, 1.0, -2.0});
  EXPECT_EQ(match_layers(other, planted).common, 3);
  EXPECT_FALSE(match_layers(other, planted).exact());
}

TEST(PixelSamples, AreSinesAndCosinesOfPlaces) {
  const Samples x = pixel_samples({.channels = 1, .height = 4, .width = 6}, {.frequencies = 5, .seed = 1});
  EXPECT_EQ(x.count(), 24);
  EXPECT_EQ(x.features(), 10);
  for (std::int64_t f = 0; f < 5; ++f)
    for (std::int64_t i = 0; i < 24; ++i)
      EXPECT_NEAR(std::pow(x.column(f)[i], 2) + std::pow(x.column(5 + f)[i], 2), 1.0, 1e-5);
  // Whole numbers: (0, 0) is no phase at all.
  const Samples whole =
      pixel_samples({.channels = 1, .height = 4, .width = 6}, {.frequencies = 5, .integer = true, .seed = 1});
  for (std::int64_t f = 0; f < 5; ++f) EXPECT_EQ(whole.column(f)[0], 0.0f);
}

TEST(Picture, ComesBackFromItsPng) {
  Picture picture{.shape = {.channels = 3, .height = 2, .width = 3}, .bytes = {}};
  for (int i = 0; i < 18; ++i) picture.bytes.push_back(static_cast<std::uint8_t>(13 * i));
  const std::string png = encode_png(picture);
  const Picture back = decode_picture(std::as_bytes(std::span(png)), "file", "image");
  EXPECT_EQ(back.bytes, picture.bytes);
  EXPECT_EQ(back.shape.channels, 3);
  const Picture corner = crop(picture, 2);
  EXPECT_EQ(corner.bytes, (std::vector<std::uint8_t>{0, 13, 39, 52, 78, 91, 117, 130, 156, 169, 195, 208}));
  const std::vector<double> outputs{-1.0, 0.0, 0.5, 1.0, 2.0, 0.25};
  EXPECT_EQ(picture_of({.channels = 1, .height = 2, .width = 3}, outputs).bytes,
            (std::vector<std::uint8_t>{0, 0, 128, 255, 255, 64}));
}

TEST(PlantedTask, PutsAnEqualShareIntoEachLayer) {
  const RecoverTask task = planted_task(
      {.samples = 100, .features = 30, .hidden_width = 20, .nnz = 50, .hidden_layers = 2, .seed = 1});
  EXPECT_EQ(task.planted->below.at(0).nonzeros(), 25);
  EXPECT_EQ(task.planted->weights.nonzeros(), 25);
  EXPECT_EQ(task.fresh_x.count(), 5000);
}

}  // namespace
}  // namespace tulle::testing
