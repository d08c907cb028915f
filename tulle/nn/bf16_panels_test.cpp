// Networks that keep their activations in bfloat16: compact layers with Precision::kBf16.
#include "tulle/nn/bf16_panels.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tulle/base/parallel.h"
#include "tulle/kernels/targets.h"
#include "tulle/nn/test_network.h"

namespace tulle {
namespace {

// Nearer to where rounding changes sides than this, float and double sums may take different ones.
constexpr double kNoTie = 2e-6;

NetworkSpec rounding(NetworkSpec spec) {
  spec.storage = Storage::kCompact;
  spec.precision = Precision::kBf16;
  return spec;
}

// "Steps" that keep the gradients of sparse layers as their momentum.
void note_gradients(Network& network) {
  for (std::size_t l = 0; l < network.size(); ++l)
    network.layer(l).set_weight_step(
        [](const ParameterSlice& slice) { std::copy_n(slice.gradient, slice.size, slice.m1); });
  for (Parameter* parameter : network.parameters()) parameter->m1.assign(parameter->value.size(), 0.0f);
}

Outcome outcome_of(Network& network, const oracle::Batch& batch, const oracle::Loss& loss) {
  const auto samples = static_cast<std::int64_t>(batch.inputs.size());
  note_gradients(network);
  Outcome outcome = run_network(network, batch, loss, network.panel_width(samples));
  outcome.gradient.clear();
  for (Parameter* parameter : network.parameters()) {
    const auto& noted = parameter->gradient.empty() ? parameter->m1 : parameter->gradient;
    outcome.gradient.insert(outcome.gradient.end(), noted.begin(), noted.end());
  }
  return outcome;
}

void expect_equals_rounding_oracle(const NetworkSpec& spec, const oracle::Loss& loss, std::int32_t samples,
                                   Dice& dice) {
  for (;;) {
    Network network = make_network(spec, dice);
    oracle::Batch batch = make_batch(loss.name, spec.sizes.front(), spec.sizes.back(), samples, dice);
    batch.training = true;
    batch.place = {.seed = dice.below(~0ull), .step = 5, .worker = 2, .first_position = 48};
    const oracle::Network twin = oracle_of(network);
    const oracle::Result wanted = oracle::evaluate(twin, batch, loss);
    if (wanted.to_kink < kClear || wanted.to_tie < kNoTie) continue;
    ASSERT_TRUE(equals_oracle(network, outcome_of(network, batch, loss), wanted, kTolerance))
        << spec.activation << ", batch " << samples;
    return;
  }
}

TEST(Bf16Activations, EqualTheOracleThatRoundsWhereTheyAreStoredForEveryActivation) {
  Dice dice;
  for (const ActivationInfo& activation : activations())
    for (const double dropout : {0.0, 0.3})
      expect_equals_rounding_oracle(rounding({.sizes = {13, 12, 11, 4},
                                              .activation = std::string(activation.name),
                                              .densities = {0.3},
                                              .dropout = dropout}),
                                    {.name = "cross-entropy"}, 5, dice);
}

TEST(Bf16Activations, EqualTheOracleForEveryPanelWidthOnEveryInstructionSet) {
  for (const std::string& target : kernels::available_targets()) {
    SCOPED_TRACE(target);
    kernels::force_target(target);
    Dice dice;
    for (const std::int32_t samples : {1, 2, 3, 4, 7, 8, 9, 16, 20})
      expect_equals_rounding_oracle(rounding({.sizes = {9, 8, 7, 3}, .densities = {0.4}, .dropout = 0.2}),
                                    {.name = "mse"}, samples, dice);
    kernels::force_target("");
  }
}

TEST(Bf16Activations, EqualTheOracleBesideDenseLayersAndInOneLayerAlone) {
  Dice dice;
  for (const char* activation : {"all-relu", "tanh"})
    for (std::vector<bool> dense : {std::vector<bool>{false, false, true}, {false, true, false}})
      expect_equals_rounding_oracle(
          rounding(
              {.sizes = {10, 9, 8, 3}, .activation = activation, .densities = {0.4}, .dense_layers = dense}),
          {.name = "cross-entropy"}, 6, dice);
  expect_equals_rounding_oracle(rounding({.sizes = {10, 4}, .densities = {0.4}}), {.name = "mse"}, 6, dice);
}

TEST(Bf16Activations, AreNotThoseOfFloats) {
  Dice dice, same;
  const NetworkSpec spec = rounding({.sizes = {30, 40, 40, 3}, .densities = {0.3}});
  NetworkSpec floats = spec;
  floats.precision = Precision::kFloat;
  Network rounded = make_network(spec, dice), exact = make_network(floats, same);
  const oracle::Batch batch = make_batch("mse", 30, 3, 4, dice);
  const Outcome a = run_network(rounded, batch, {.name = "mse"}, 4),
                b = run_network(exact, batch, {.name = "mse"}, 4);
  EXPECT_NE(a.outputs, b.outputs);
  const Panels<const float> kept = rounded.activations(0), all = exact.activations(0);
  for (std::int32_t s = 0; s < 4; ++s)
    for (std::int32_t j = 0; j < 40; ++j) {
      EXPECT_EQ(kept.at(s, j), oracle::rounded_to_bf16(kept.at(s, j)));
      EXPECT_EQ(kept.at(s, j), static_cast<float>(oracle::rounded_to_bf16(all.at(s, j))));
    }
}

// More targets than a block of the backward walk has; all-relu needs its signs.
Outcome with_threads(int threads, std::int32_t samples, bool bf16_weights) {
  set_thread_count(threads);
  Dice dice;
  NetworkSpec spec = rounding({.sizes = {40, 3000, 50, 3}, .densities = {0.2}, .dropout = 0.2});
  spec.bf16_weights = bf16_weights;
  Network network = make_network(spec, dice);
  for (Parameter* parameter : network.parameters()) keep_momentum(*parameter);
  for (std::size_t l = 0; l < network.size(); ++l)
    network.layer(l).set_weight_step([](const ParameterSlice& slice) {
      for (std::int64_t i = 0; i < slice.size; ++i) {
        slice.m1[i] = 0.9f * slice.m1[i] + slice.gradient[i];
        slice.value[i] -= 0.1f * slice.m1[i];
      }
    });
  Outcome last;
  for (std::uint32_t step = 0; step < 3; ++step) {
    oracle::Batch batch = make_batch("mse", 40, 3, samples, dice);
    batch.training = true;
    batch.place = {.seed = 11, .step = step};
    last = run_network(network, batch, {.name = "mse"}, network.panel_width(samples));
  }
  set_thread_count(0);
  for (std::size_t l = 0; l < network.size(); ++l) {
    const ParameterValues values = values_of(network.layer(l).weight());
    last.gradient.insert(last.gradient.end(), values.begin(), values.end());
  }
  return last;
}

TEST(Bf16Activations, LearnTheSameBitsWithAnyNumberOfThreads) {
  for (const bool bf16_weights : {false, true})
    for (const std::int32_t samples : {2, 3, 16, 40}) {
      const Outcome one = with_threads(1, samples, bf16_weights);
      for (const float value : one.gradient) ASSERT_TRUE(std::isfinite(value));
      for (const int threads : {2, 3, 8})
        EXPECT_TRUE(with_threads(threads, samples, bf16_weights) == one) << threads << ", " << samples;
    }
}

}  // namespace
}  // namespace tulle
