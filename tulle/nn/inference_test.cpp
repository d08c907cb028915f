#include "tulle/nn/inference.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tulle/base/parallel.h"
#include "tulle/kernels/targets.h"
#include "tulle/nn/test_network.h"

namespace tulle {
namespace {

struct Inputs {
  PanelBuffer memory;
  Panels<float> panels;
  Inputs(std::int32_t features, std::int32_t batch, int width) : panels(memory.view(features, batch, width)) {
    Dice dice;
    for (std::int32_t b = 0; b < batch; ++b)
      for (std::int32_t f = 0; f < features; ++f) panels.at(b, f) = dice.value();
  }
};

std::vector<float> samples_of(Panels<const float> z) {
  std::vector<float> values;
  for (std::int32_t b = 0; b < z.batch; ++b)
    for (std::int32_t o = 0; o < z.features; ++o) values.push_back(z.at(b, o));
  return values;
}

std::vector<float> from_network(Network& network, std::int32_t batch) {
  const Inputs x(network.inputs(), batch, network.panel_width(batch));
  return samples_of(network.forward({}, x.panels));
}

std::vector<float> from_inference(Network& network, std::int32_t batch, const Inference::Options& options) {
  Inference inference(network, options);
  const Inputs x(network.inputs(), batch, inference.panel_width());
  return samples_of(inference.forward(x.panels));
}

void expect_close(const std::vector<float>& found, const std::vector<float>& expected, float relative) {
  ASSERT_EQ(found.size(), expected.size());
  float largest = 0.0f;
  for (const float v : expected) largest = std::max(largest, std::abs(v));
  for (std::size_t i = 0; i < found.size(); ++i) ASSERT_NEAR(found[i], expected[i], relative * largest) << i;
}

Network small_network(Dice& dice, const char* activation = "all-relu") {
  return make_network({.sizes = {70, 150, 90, 33}, .activation = activation, .densities = {0.3, 0.2, 0.5}},
                      dice);
}

TEST(Inference, HasTheBitsOfTheNetworkForEveryBatchAndNumberOfThreads) {
  for (const char* activation : {"all-relu", "relu", "srelu", "gelu"}) {
    Dice dice;
    Network network = small_network(dice, activation);
    for (const std::int32_t batch : {1, 2, 15, 16, 17, 64, 65, 127, 200, 513}) {
      const std::vector<float> expected = from_network(network, batch);
      for (const int threads : {1, 2, 3, 7}) {
        set_thread_count(threads);
        EXPECT_EQ(from_inference(network, batch, {.batch = batch}), expected)
            << activation << ", batch " << batch << ", threads " << threads;
      }
    }
  }
  set_thread_count(0);
}

TEST(Inference, TakesSmallerBatchesThanItWasMadeFor) {
  Dice dice;
  Network network = small_network(dice);
  Inference inference(network, {.batch = 300});
  for (const std::int32_t batch : {300, 1, 70}) {
    const Inputs x(network.inputs(), batch, inference.panel_width());
    EXPECT_EQ(samples_of(inference.forward(x.panels)), from_network(network, batch)) << batch;
  }
}

TEST(Inference, OfDenseLayersEqualsTheNetworkUpToRounding) {
  Dice dice;
  Network network = make_network({.sizes = {70, 150, 10}, .dense = true}, dice);
  for (const std::int32_t batch : {1, 20, 130})
    expect_close(from_inference(network, batch, {.batch = batch}), from_network(network, batch), 1e-5f);
}

TEST(Inference, InBfloat16IsNearTheNetworkAndTheSameForAnyNumberOfThreads) {
  Dice dice;
  Network network = small_network(dice);
  for (const std::int32_t batch : {1, 40, 200}) {
    const Inference::Options options{.batch = batch, .precision = Precision::kBf16};
    set_thread_count(1);
    const std::vector<float> one = from_inference(network, batch, options);
    expect_close(one, from_network(network, batch), 0.02f);
    EXPECT_NE(one, from_network(network, batch)) << "nothing was rounded";
    set_thread_count(3);
    EXPECT_EQ(from_inference(network, batch, options), one);
  }
  set_thread_count(0);
}

TEST(Inference, InBfloat16HasTheBitsOfANetworkThatTrainsInIt) {
  Dice dice;
  Network network = make_network(
      {.sizes = {70, 150, 90, 33}, .densities = {0.3, 0.2, 0.5}, .precision = Precision::kBf16}, dice);
  for (const std::int32_t batch : {1, 17, 64, 200})
    EXPECT_EQ(from_inference(network, batch, {.batch = batch, .precision = Precision::kBf16}),
              from_network(network, batch))
        << batch;
}

TEST(Inference, InBytesIsNearTheNetworkAndTheSameForAnyNumberOfThreads) {
  Dice dice;
  Network network = small_network(dice);
  const Inputs calibration(network.inputs(), 1000, network.panel_width(1000));
  const std::vector<kernels::ByteScale> scales = byte_scales(network, calibration.panels);
  ASSERT_EQ(scales.size(), 3u);
  for (const std::int32_t batch : {1, 64, 200}) {
    const Inference::Options options{.batch = batch, .precision = Precision::kInt8, .scales = scales};
    set_thread_count(1);
    const std::vector<float> one = from_inference(network, batch, options);
    expect_close(one, from_network(network, batch), 0.06f);
    set_thread_count(3);
    EXPECT_EQ(from_inference(network, batch, options), one);
  }
  set_thread_count(0);
}

TEST(ByteScales, CoverTheValuesButForOneInTenThousandAndKeepZeroExact) {
  // One layer; inputs run evenly from -1 to 3, but for one that is far out.
  Dice dice;
  Network network = make_network({.sizes = {10, 4}}, dice);
  PanelBuffer memory;
  const Panels<float> x = memory.view(10, 4000, network.panel_width(4000));
  for (std::int32_t b = 0; b < 4000; ++b)
    for (std::int32_t f = 0; f < 10; ++f) x.at(b, f) = -1.0f + 4.0f * static_cast<float>(b) / 3999.0f;
  x.at(0, 0) = 1e9f, x.at(1, 0) = std::numeric_limits<float>::infinity();
  const kernels::ByteScale scale = byte_scales(network, x)[0];
  EXPECT_NEAR(scale.scale, 4.0f / 255.0f, 1e-4f);
  EXPECT_EQ(scale.zero, 64);
  for (std::int32_t b = 0; b < 4000; ++b)
    for (std::int32_t f = 0; f < 10; ++f) x.at(b, f) = 0.0f;
  EXPECT_EQ(byte_scales(network, x)[0].zero, 0) << "nothing but zeros";
}

TEST(Inference, OfASingleSampleHasAWidthOfItsOwn) {
  Dice dice;
  Network fused = small_network(dice), other = small_network(dice, "gelu");
  EXPECT_EQ(Inference(fused, {.batch = 1}).panel_width(), 1);
  EXPECT_EQ(Inference(other, {.batch = 1}).panel_width(), 16);
}

TEST(Inference, RefusesPanelsOfAnotherShapeAndBytesWithoutScales) {
  Dice dice;
  Network network = small_network(dice);
  Inference inference(network, {.batch = 100});
  const int width = inference.panel_width();
  EXPECT_THROW(inference.forward(Inputs(69, 100, width).panels), std::invalid_argument);
  EXPECT_THROW(inference.forward(Inputs(70, 101, width).panels), std::invalid_argument);
  EXPECT_THROW(inference.forward(Inputs(70, 100, width / 2).panels), std::invalid_argument);
  EXPECT_THROW(Inference(network, {.batch = 100, .precision = Precision::kInt8}), std::invalid_argument);
  EXPECT_THROW(Inference(network, {.batch = 0}), std::invalid_argument);
}

}  // namespace
}  // namespace tulle
