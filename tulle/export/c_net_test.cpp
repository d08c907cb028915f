#include "tulle/export/c_net.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tulle/base/error.h"
#include "tulle/data/loader.h"
#include "tulle/export/c_check.h"
#include "tulle/nn/inference.h"
#include "tulle/nn/test_network.h"

namespace tulle {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// One sparse layer with these connections; every bias is 0.
Network one_layer(std::int32_t inputs, RawVector<std::int64_t> row_ptr, RawVector<std::int32_t> columns,
                  const std::vector<float>& weights, const std::string& activation = "identity") {
  std::vector<std::unique_ptr<Layer>> layers;
  const auto outputs = static_cast<std::int32_t>(row_ptr.size()) - 1;
  layers.push_back(make_sparse_layer({.inputs = inputs, .outputs = outputs, .activation = activation},
                                     Topology(outputs, inputs, std::move(row_ptr), std::move(columns))));
  std::copy(weights.begin(), weights.end(), layers.front()->weight().value.begin());
  return Network(std::move(layers));
}

Scaling standard(std::vector<float> mean, std::vector<float> deviation) {
  return {.kind = "standard", .mean = std::move(mean), .deviation = std::move(deviation)};
}

std::vector<float> random_inputs(std::int32_t features, Dice& dice) {
  std::vector<float> x;
  for (std::int32_t f = 0; f < features; ++f) x.push_back(3.0f * dice.value());
  return x;
}

// The outputs of the engine, by its kernels for single samples.
std::vector<float> by_engine(const Network& network, const Scaling& scaling, std::vector<float> x) {
  const std::vector<float> mean = scaling_means(scaling, network.inputs()),
                           factor = scaling_factors(scaling, network.inputs());
  for (std::size_t f = 0; f < x.size(); ++f) x[f] = (x[f] - mean[f]) * factor[f];
  Inference inference(network, {.batch = 1});
  PanelBuffer buffer;
  const Panels<float> panels = buffer.view(network.inputs(), 1, inference.panel_width());
  for (std::int32_t f = 0; f < network.inputs(); ++f) panels.at(0, f) = x[static_cast<std::size_t>(f)];
  const Panels<const float> y = inference.forward(panels);
  std::vector<float> out;
  for (std::int32_t o = 0; o < network.outputs(); ++o) out.push_back(y.at(0, o));
  return out;
}

TEST(CNet, ComputesWhatTheEngineDoes) {
  Dice dice;
  for (const char* activation : {"relu", "all-relu", "leaky-relu", "identity"})
    for (const bool dense : {false, true}) {
      const Network network = make_network(
          {.sizes = {37, 20, 30, 5}, .activation = activation, .densities = {0.3}, .dense = dense}, dice);
      const CNet net(network, {}, {});
      for (int sample = 0; sample < 10; ++sample) {
        const std::vector<float> x = random_inputs(37, dice), engine = by_engine(network, {}, x);
        const CNet::Exact exact = net.run_exactly(x);
        const std::vector<float> c = net.run(x);
        for (std::size_t o = 0; o < 5; ++o) {
          EXPECT_NEAR(c[o], exact.output[o], exact.bound[o]) << activation;
          EXPECT_NEAR(engine[o], exact.output[o], exact.bound[o]) << activation;
          EXPECT_LT(exact.bound[o], 1e-3);  // a bound that says something
        }
      }
    }
}

TEST(CNet, GapsAbove255AreSplitByWeightsOf0) {
  const CNet net(one_layer(2000, {0, 2, 3, 3}, {255, 1100, 256}, {1, 2, 3}), {}, {.gap = CGap::k8});
  const CLayer& layer = net.layers.front();
  EXPECT_THAT(layer.gap, ElementsAre(255, 255, 255, 255, 80, 255, 1));
  EXPECT_THAT(layer.weight, ElementsAre(1, 0, 0, 0, 2, 0, 3));
  EXPECT_THAT(layer.row_ptr, ElementsAre(0u, 5u, 7u, 7u));
  EXPECT_EQ(layer.connections, 3);
}

TEST(CNet, GapsTakeTheBitsThatTakeFewerBytes) {
  // Alone, a gap of 700 takes 3 * (1 + 1) bytes or 2 + 1, one of 300 takes 2 * (1 + 1).
  const auto bytes_of_gap = [](std::int32_t column, bool int8) {
    return CNet(one_layer(1000, {0, 1}, {column}, {1}), {}, {.int8 = int8}).layers.front().gap_bytes;
  };
  EXPECT_EQ(bytes_of_gap(700, true), 2);
  EXPECT_EQ(bytes_of_gap(300, true), 2);
  EXPECT_EQ(bytes_of_gap(255, true), 1);
  EXPECT_EQ(CNet(one_layer(1000, {0, 3}, {100, 200, 500}, {1, 1, 1}), {}, {.int8 = true}).layers[0].gap_bytes,
            1);
}

TEST(CNet, BytesAreTheNearestOnesOfTheirScale) {
  const CNet rows(one_layer(3, {0, 3, 4, 4}, {0, 1, 2, 0}, {1.27f, -0.026f, 0.004f, -8.0f}), {},
                  {.int8 = true});
  EXPECT_THAT(rows.layers[0].weight, ElementsAre(127, -3, 0, -127));
  EXPECT_THAT(rows.layers[0].scale, ElementsAre(1.27f / 127, 8.0f / 127, 0.0f));
  const CNet layer(one_layer(3, {0, 3, 4, 4}, {0, 1, 2, 0}, {1.27f, -0.026f, 0.004f, -8.0f}), {},
                   {.int8 = true, .scale = CScale::kLayer});
  EXPECT_THAT(layer.layers[0].weight, ElementsAre(20, 0, 0, -127));
  EXPECT_THAT(layer.layers[0].scale, ElementsAre(8.0f / 127));
}

TEST(CNet, ScalingGoesIntoTheFirstLayer) {
  const Scaling scaling = standard({10, -2, 5}, {2, 2, 0});
  const Network network = one_layer(3, {0, 3}, {0, 1, 2}, {4, 6, 1});
  const CNet net(network, scaling, {});
  EXPECT_THAT(net.layers[0].weight, ElementsAre(2, 3, 0));
  EXPECT_THAT(net.layers[0].bias, ElementsAre(-20 + 6));
  EXPECT_THAT(net.input.mean, IsEmpty());
  EXPECT_THAT(net.run(std::vector<float>{12, 2, 9}), ElementsAre(4 + 12));
}

TEST(CNet, MeansFarFrom0AreSubtractedFromTheInput) {
  const Scaling scaling = standard({300.0f, 1.0f}, {0.125f, 1.0f});
  const CNet net(one_layer(2, {0, 2}, {0, 1}, {1, 1}), scaling, {});
  EXPECT_THAT(net.input.mean, ElementsAre(300.0f, 1.0f));
  EXPECT_THAT(net.layers[0].bias, ElementsAre(0.0f));
  EXPECT_THAT(net.run(std::vector<float>{300.25f, 1.0f}), ElementsAre(2.0f));
}

TEST(CNet, BytesLeaveThePowersOfTwoOfDifferentFactorsWithTheInput) {
  // Weights 1, 1 and 1 times factors 1/64, 1/6 and 0: in one scale the first would be byte 12 of 127.
  const Scaling scaling = standard({0, 0, 0}, {64, 6, 0});
  const CNet net(one_layer(3, {0, 3}, {0, 1, 2}, {1, 1, 1}), scaling, {.int8 = true});
  EXPECT_THAT(net.input.power, ElementsAre(1.0f / 64, 0.125f, 1.0f));
  EXPECT_THAT(net.input.code, ElementsAre(0, 1, 2));
  EXPECT_THAT(net.layers[0].weight, ElementsAre(95, 127, 0));
  EXPECT_NEAR(net.run(std::vector<float>{64, 6, 1})[0], 2.0, 0.01);
}

TEST(CNet, OneFactorForAllFeaturesStaysInTheScale) {
  const Scaling scaling = standard({0, 0, 9}, {255, 255, 0});
  const CNet net(one_layer(3, {0, 3}, {0, 1, 2}, {1, -0.5f, 1}), scaling, {.int8 = true});
  EXPECT_THAT(net.input.code, IsEmpty());
  EXPECT_THAT(net.layers[0].weight, ElementsAre(127, -64, 0));
}

TEST(CNet, AFeatureAtItsMeanAddsNothingInBytesEither) {
  Dice dice;
  const Network network = make_network({.sizes = {40, 8}, .densities = {0.4}}, dice);
  std::vector<float> mean, deviation;
  for (int f = 0; f < 40; ++f) {
    mean.push_back(3.0f * dice.value());
    deviation.push_back(std::exp(3.0f * dice.value()));
  }
  const CNet net(network, standard(mean, deviation), {.int8 = true});
  const CNet::Exact exact = net.run_exactly(mean);
  for (std::size_t o = 0; o < 8; ++o)
    EXPECT_NEAR(exact.output[o], network.layer(0).bias().value[o], 2 * exact.bound[o]);
}

TEST(CNet, CountsItsBytes) {
  Dice dice;
  const Network network = make_network({.sizes = {784, 256, 128, 10}, .densities = {0.05, 0.05, 0.2}}, dice);
  std::int64_t entries = 0;
  const CNet rows(network, {}, {.int8 = true, .gap = CGap::k8});
  for (const CLayer& layer : rows.layers) entries += static_cast<std::int64_t>(layer.weight.size());
  EXPECT_EQ(rows.constant_bytes(), 2 * (257 + 129 + 11) + entries * 2 + 4 * 394 + 4 * 394);
  const CNet layer(network, {}, {.int8 = true, .scale = CScale::kLayer, .gap = CGap::k8});
  EXPECT_EQ(layer.constant_bytes(), rows.constant_bytes() - 4 * 394 + 4 * 3);
  const CNet floats(network, {}, {.gap = CGap::k8});
  EXPECT_EQ(floats.constant_bytes(), rows.constant_bytes() - 4 * 394 + 3 * entries);
  EXPECT_EQ(floats.dense_bytes(), 939008);
  EXPECT_EQ(floats.scratch(), 384);
}

// Bytes 0 to 255 for -1 to 4.1, so that 0 is byte 50.
constexpr kernels::ByteScale kBytes{.scale = 0.02f, .zero = 50};

TEST(CNet, LayersThatReadBytesAddUpWholeNumbers) {
  // Weights 127, -64 of scale 0.01; inputs 1, 0.5 and -3 are bytes 100, 75 and 0 (too small).
  CNet net(one_layer(3, {0, 2, 3}, {0, 1, 2}, {1.27f, -0.64f, 1.27f}), {},
           {.int8 = true, .int8_activations = true});
  net.take_bytes(std::vector{kBytes});
  EXPECT_FLOAT_EQ(net.layers[0].scale[0], 0.01f * 0.02f);
  EXPECT_FLOAT_EQ(net.layers[0].bias[0], -50 * 0.02f * 0.01f * (127 - 64));
  const std::vector<float> y = net.run(std::vector<float>{1.0f, 0.5f, -3.0f});
  EXPECT_NEAR(y[0], 1.27 * 1 - 0.64 * 0.5, 1e-6);
  EXPECT_NEAR(y[1], -1.27, 1e-6);  // as if it were -1, the least that a byte can mean
}

TEST(CNet, BytesAreRoundedToNearestAndCutOff) {
  const CBytes bytes{.per_step = 50.0f, .offset = 50.5f};
  EXPECT_EQ(bytes.of(0.0f), 50);
  EXPECT_EQ(bytes.of(0.0299f), 51);
  EXPECT_EQ(bytes.of(0.0301f), 52);
  EXPECT_EQ(bytes.of(-7.0f), 0);
  EXPECT_EQ(bytes.of(1e9f), 255);
  EXPECT_EQ(bytes.of(std::numeric_limits<float>::quiet_NaN()), 0);
}

TEST(CNet, ScratchInBytesTakesAQuarter) {
  Dice dice;
  CNet net(make_network({.sizes = {20, 33, 18, 40, 3}, .densities = {0.5}}, dice), {},
           {.int8 = true, .int8_activations = true});
  EXPECT_EQ(net.scratch(), 40 + 18);
  net.take_bytes(std::vector(4, kBytes));
  EXPECT_EQ(net.scratch(), 15);
}

TEST(CNet, ABorderBetweenBytesWidensTheBoundByAByte) {
  CNet net(one_layer(1, {0, 1}, {0}, {1.27f}), {}, {.int8 = true, .int8_activations = true});
  net.take_bytes(std::vector{kernels::ByteScale{.scale = 1.0f, .zero = 0}});
  EXPECT_LT(net.run_exactly(std::vector<float>{7.25f}).bound[0], 1e-5);
  const CNet::Exact border = net.run_exactly(std::vector<float>{7.5f});
  EXPECT_NEAR(border.output[0], 8 * 1.27, 1e-5);
  EXPECT_NEAR(border.bound[0], 1.27, 1e-5);
}

TEST(CNet, MeansCostBytesMoreThanFloats) {
  const Scaling scaling = standard({3, 0}, {1, 1});
  const Network network = one_layer(2, {0, 2}, {0, 1}, {1, 1});
  EXPECT_THAT(CNet(network, scaling, {.int8 = true}).input.mean, IsEmpty());
  EXPECT_THAT(CNet(network, scaling, {.int8 = true, .int8_activations = true}).input.mean, ElementsAre(3, 0));
}

template <class Make>
std::string refusal(const Make& make) {
  try {
    make();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(CNet, RefusesWhatNeedsLibmAndWhatIsNoNumber) {
  Dice dice;
  for (const char* activation : {"sigmoid", "tanh", "gelu"}) {
    const Network network = make_network({.sizes = {4, 3, 2}, .activation = activation}, dice);
    EXPECT_THAT(refusal([&] { CNet(network, {}, {}); }),
                HasSubstr("activation of layer 0, found '" + std::string(activation) + "', expected relu"));
  }
  const Network infinite = one_layer(1, {0, 1}, {0}, {std::numeric_limits<float>::infinity()});
  EXPECT_THAT(refusal([&] { CNet(infinite, {}, {}); }),
              HasSubstr("layers.0.weight, found a weight that is not"));
  Network biased = one_layer(1, {0, 1}, {0}, {1.0f});
  biased.layer(0).bias().value[0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(refusal([&] { CNet(biased, {}, {}); }), HasSubstr("layers.0.bias, found a number that is not"));
  const Network large = one_layer(1, {0, 1}, {0}, {1e30f});
  EXPECT_THAT(refusal([&] { CNet(large, standard({0}, {1e-30f}), {}); }), HasSubstr("scaling included"));
}

TEST(CNet, RefusesSumsThat32BitsMayNotHold) {
  constexpr std::int32_t kInputs = 66'312;  // * 127 * 255 is beyond 2^31
  RawVector<std::int32_t> columns(kInputs);
  for (std::int32_t c = 0; c < kInputs; ++c) columns[static_cast<std::size_t>(c)] = c;
  CNet net(one_layer(kInputs, {0, kInputs}, std::move(columns), std::vector<float>(kInputs, 1.0f)), {},
           {.int8 = true, .int8_activations = true});
  EXPECT_THAT(refusal([&] { net.take_bytes(std::vector{kBytes}); }), HasSubstr("sum of layer 0"));
}

TEST(CComparison, IsMadeOnTheFirstSamplesAndAccuracyOnAll) {
  Dice dice;
  const Model model{.network = make_network({.sizes = {12, 9, 4}, .densities = {0.5}}, dice)};
  const Network& network = model.network;
  Split data;
  data.inputs = {.samples = 300, .features = 12};
  for (int i = 0; i < 300 * 12; ++i) data.inputs.floats.push_back(dice.value());
  const CNet net(network, {}, {.int8 = true});
  const CComparison unlabelled = compare_with_engine(net, model, false, data, 256);
  EXPECT_EQ(unlabelled.rows, 256);
  EXPECT_EQ(unlabelled.labelled, 0);
  EXPECT_GT(unlabelled.largest_difference, 1e-4);  // bytes
  EXPECT_LT(unlabelled.largest_difference, 0.2);
  EXPECT_GT(unlabelled.same_arg_max, 230);

  // Classes that the engine answers: it is always right, C where it agrees.
  for (int i = 0; i < 300; ++i) {
    const auto first = data.inputs.floats.begin() + 12 * i;
    const std::vector<float> y = by_engine(network, {}, {first, first + 12});
    data.classes.push_back(static_cast<std::int32_t>(std::max_element(y.begin(), y.end()) - y.begin()));
  }
  const CNet other(make_network({.sizes = {12, 9, 4}, .densities = {0.5}}, dice), {}, {});
  const CComparison labelled = compare_with_engine(other, model, false, data, 300);
  EXPECT_EQ(labelled.labelled, 300);
  EXPECT_EQ(labelled.correct_engine, 300);
  EXPECT_EQ(labelled.correct_c, labelled.same_arg_max);
  EXPECT_LT(labelled.correct_c, 300);
}

TEST(Calibrate, SpansTheInputsOfEveryLayerOverTheWholeData) {
  // Two layers of weight 2; the larger samples stand behind the first thousand.
  std::vector<std::unique_ptr<Layer>> layers;
  for (int l = 0; l < 2; ++l) {
    layers.push_back(make_sparse_layer({.index = l, .inputs = 1, .outputs = 1}, Topology(1, 1, {0, 1}, {0})));
    layers.back()->weight().value[0] = 2.0f;
  }
  const Model model{.network = Network(std::move(layers))};
  Split data;
  data.inputs = {.samples = 5000, .features = 1};
  for (int i = 0; i < 5000; ++i) data.inputs.floats.push_back(i < 2500 ? 1.0f : 5.1f);
  const CNet net(model.network, {}, {.int8 = true, .int8_activations = true});
  const auto scales = calibrate(net, model, false, data);
  ASSERT_EQ(scales.size(), 2u);
  EXPECT_FLOAT_EQ(scales[0].scale, 5.1f / 255);
  EXPECT_FLOAT_EQ(scales[1].scale, 10.2f / 255);
  EXPECT_EQ(scales[0].zero, 0);
}

TEST(CSelfCheck, IsTheFirstSampleOrNearTheMeans) {
  const CNet net(one_layer(2, {0, 2}, {0, 1}, {1, 2}), {}, {});
  const CSelfCheck fixed = make_self_check(net, {}, false, {});
  EXPECT_THAT(fixed.input, ElementsAre(0, 1));
  EXPECT_TRUE(fixed.fits_bytes());
  EXPECT_THAT(fixed.output, ElementsAre(2));
  const Model model{.scaling = standard({70.3f, 10}, {80, 0.5f})};
  EXPECT_THAT(make_self_check(net, model, false, {}).input, ElementsAre(70, 10.25f));
  const CSelfCheck sample =
      make_self_check(net, {}, false, {.inputs = {.samples = 2, .features = 2, .floats = {0.5f, 1, 7, 7}}});
  EXPECT_THAT(sample.input, ElementsAre(0.5f, 1));
  EXPECT_FALSE(sample.fits_bytes());
  EXPECT_GT(sample.tolerance, 0.0);
  EXPECT_LT(sample.tolerance, 1e-5);
}

}  // namespace
}  // namespace tulle
