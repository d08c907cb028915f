#include "tulle/nn/bf16_weights.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "tulle/base/half.h"
#include "tulle/base/parallel.h"
#include "tulle/nn/test_network.h"

namespace tulle {
namespace {

// More targets than a block of the backward walk has.
const NetworkSpec kSpec{
    .sizes = {40, 3000, 50, 3}, .densities = {0.2}, .dropout = 0.2, .storage = Storage::kCompact};

Network network_of(bool bf16, Dice& dice) {
  NetworkSpec spec = kSpec;
  spec.bf16_weights = bf16;
  Network network = make_network(spec, dice);
  for (Parameter* parameter : network.parameters()) keep_momentum(*parameter);
  return network;
}

void take_momentum_step(const ParameterSlice& slice) {
  for (std::int64_t i = 0; i < slice.size; ++i) {
    slice.m1[i] = 0.9f * slice.m1[i] + slice.gradient[i];
    slice.value[i] -= 0.1f * slice.m1[i];
  }
}

void learn(Network& network, std::uint32_t steps, std::int32_t samples, Dice& dice) {
  for (std::size_t l = 0; l < network.size(); ++l) network.layer(l).set_weight_step(take_momentum_step);
  for (std::uint32_t step = 0; step < steps; ++step) {
    oracle::Batch batch = make_batch("mse", network.inputs(), network.outputs(), samples, dice);
    batch.training = true;
    batch.place = {.seed = 11, .step = step};
    run_network(network, batch, {.name = "mse"}, network.panel_width(samples));
  }
}

TEST(Bf16Weights, AStepIsThatOfFloatsRoundedByTheDrawOfEachConnection) {
  for (const std::int32_t samples : {3, 16, 40}) {
    Dice dice, same;
    Network floats = network_of(false, dice), rounded = network_of(true, same);
    for (std::size_t l = 0; l < floats.size(); ++l) {  // both start with what bfloat16 can tell
      for (Parameter* parameter : {&floats.layer(l).weight(), &floats.layer(l).bias()}) {
        narrow(*parameter);
        widen(*parameter);
      }
    }
    learn(floats, 1, samples, dice);
    learn(rounded, 1, samples, same);
    for (std::size_t l = 0; l < floats.size(); ++l) {
      const Parameter &wide = floats.layer(l).weight(), &narrow = rounded.layer(l).weight();
      const Topology& topology = *floats.layer(l).topology();
      const Random random{
          .seed = 11, .stream = Stream::kRounding, .layer = static_cast<std::uint32_t>(l), .event = 0};
      const auto up_or_down = [](float number, std::uint32_t draw) {
        return static_cast<std::uint16_t>((std::bit_cast<std::uint32_t>(number) + draw) >> 16);
      };
      std::size_t k = 0;
      for (std::int32_t target = 0; target < topology.rows(); ++target)
        for (const std::int32_t source : topology.row(target)) {
          const std::uint64_t place =
              static_cast<std::uint64_t>(target) << 32 | static_cast<std::uint64_t>(source);
          const std::uint32_t word = random.words(place)[0];
          ASSERT_EQ(narrow.bf16_value[k], up_or_down(wide.value[k], word & 0xffff)) << l << ", " << k;
          ASSERT_EQ(narrow.bf16_m1[k], up_or_down(wide.m1[k], word >> 16)) << l << ", " << k;
          ++k;
        }
      EXPECT_TRUE(narrow.value.empty() && narrow.m1.empty());
      const Parameter &wide_bias = floats.layer(l).bias(), &narrow_bias = rounded.layer(l).bias();
      for (std::size_t target = 0; target < wide_bias.size(); ++target) {
        const std::uint32_t word = random.words(target << 32 | 0xffffffff)[0];
        ASSERT_EQ(narrow_bias.bf16_value[target], up_or_down(wide_bias.value[target], word & 0xffff));
        ASSERT_EQ(narrow_bias.bf16_m1[target], up_or_down(wide_bias.m1[target], word >> 16));
      }
    }
  }
}

std::vector<std::uint16_t> after_steps(int threads, std::int32_t samples) {
  set_thread_count(threads);
  Dice dice;
  Network network = network_of(true, dice);
  learn(network, 5, samples, dice);
  set_thread_count(0);
  std::vector<std::uint16_t> all;
  for (const Parameter* parameter : network.parameters())
    for (const auto& array : {parameter->bf16_value, parameter->bf16_m1})
      all.insert(all.end(), array.begin(), array.end());
  return all;
}

TEST(Bf16Weights, LearnTheSameBitsWithAnyNumberOfThreads) {
  for (const std::int32_t samples : {4, 16, 40}) {
    const std::vector<std::uint16_t> one = after_steps(1, samples);
    for (const int threads : {2, 3, 4, 8}) EXPECT_EQ(after_steps(threads, samples), one) << threads;
  }
}

TEST(Bf16Weights, ChangesFarBelowTheirPrecisionAddUp) {
  // A weight of 1 and its neighbour are 2^-7 apart; 4096 changes of 2^-12 each double it.
  std::vector<std::unique_ptr<Layer>> layers;
  layers.push_back(
      make_sparse_layer({.inputs = 50, .outputs = 40, .storage = Storage::kCompact, .bf16_weights = true},
                        random_topology(40, 50, 1000, {.seed = 1})));
  Network network(std::move(layers));
  set_values(network.layer(0).weight(), AlignedVector<float>(1000, 1.0f));
  network.layer(0).set_weight_step([](const ParameterSlice& slice) {
    for (std::int64_t i = 0; i < slice.size; ++i) slice.value[i] += 0x1p-12f;
  });
  Dice dice;
  oracle::Batch batch = make_batch("mse", 50, 40, 2, dice);
  batch.training = true;
  for (batch.place.step = 0; batch.place.step < 4096; ++batch.place.step)
    run_network(network, batch, {.name = "mse"}, network.panel_width(2));
  double sum = 0.0;
  for (const float value : values_of(network.layer(0).weight())) sum += double{value};
  // A weight's deviation: at most half a gap, sqrt(4096 * 2^-5) times, and 1000 of them are averaged.
  EXPECT_NEAR(sum / 1000, 2.0, 4 * 0x1p-7 * std::sqrt(4096 * 0x1p-5) / std::sqrt(1000.0));
}

TEST(Bf16Weights, BecomeFloatsAndBackWithoutLoss) {
  Dice dice;
  Network network = network_of(true, dice);
  learn(network, 2, 16, dice);
  Parameter& weight = network.layer(1).weight();
  const AlignedVector<std::uint16_t> value = weight.bf16_value, m1 = weight.bf16_m1;
  widen(weight);
  EXPECT_FALSE(weight.is_bf16());
  ASSERT_EQ(weight.value.size(), value.size());
  for (std::size_t k = 0; k < value.size(); ++k) ASSERT_EQ(weight.value[k], bf16_to_float(value[k]));
  widen(weight);  // nothing to do
  narrow(weight);
  EXPECT_EQ(weight.bf16_value, value);
  EXPECT_EQ(weight.bf16_m1, m1);
  EXPECT_EQ(weight.size(), value.size());
}

TEST(Bf16Weights, AreCompactLayersAlone) {
  EXPECT_THROW(make_sparse_layer({.inputs = 3, .outputs = 3, .bf16_weights = true},
                                 random_topology(3, 3, 4, {.seed = 1})),
               std::invalid_argument);
}

}  // namespace
}  // namespace tulle
