// The optimizer's step within the backward pass, in both storages: the same bits as with kept gradients.
#include "tulle/nn/compact_linear.h"

#include <gtest/gtest.h>

#include <cmath>
#include <optional>

#include "tulle/base/parallel.h"
#include "tulle/base/spill.h"
#include "tulle/kernels/targets.h"
#include "tulle/nn/test_network.h"

namespace tulle {
namespace {

// Momentum, like sgd; also with a second moment and an age, as adam has them. Each entry for itself.
void take_step(const ParameterSlice& slice) {
  for (std::int64_t i = 0; i < slice.size; ++i) {
    slice.m1[i] = 0.9f * slice.m1[i] + slice.gradient[i];
    if (slice.m2 != nullptr) slice.m2[i] = 0.5f * slice.m2[i] + slice.gradient[i] * slice.gradient[i];
    if (slice.age != nullptr) ++slice.age[i];
    slice.value[i] -= 0.1f * slice.m1[i] + (slice.m2 != nullptr ? 1e-3f * slice.m2[i] : 0.0f);
  }
}

struct Case {
  NetworkSpec spec;
  std::int32_t batch;
  bool long_state = false;  // m2 and age too
  std::string folder{};     // for its arrays; empty: they are in memory
};

enum class Gradients { kKept, kUsedAtOnce };

// All parameters and their momentum after three steps.
std::vector<float> after_steps(const Case& wanted, Storage storage, Gradients gradients, int threads) {
  set_thread_count(threads);
  Dice dice;
  NetworkSpec spec = wanted.spec;
  spec.storage = storage;
  std::optional<Spilling> files(wanted.folder);
  Network network = make_network(spec, dice);
  for (Parameter* parameter : network.parameters()) {
    parameter->m1.assign(parameter->value.size(), 0.0f);
    if (!wanted.long_state) continue;
    parameter->m2.assign(parameter->value.size(), 0.0f);
    parameter->age.assign(parameter->value.size(), 0);
  }
  files.reset();
  if (!wanted.folder.empty()) {
    EXPECT_TRUE(is_spilled(network.layer(0).weight().value.data()));
    release_spilled();
  }
  if (gradients == Gradients::kUsedAtOnce)
    for (std::size_t l = 0; l < network.size(); ++l) {
      network.layer(l).set_weight_step(take_step);
      EXPECT_TRUE(network.layer(l).weight().gradient.empty());
    }
  for (std::uint32_t step = 0; step < 3; ++step) {
    oracle::Batch batch = make_batch("mse", network.inputs(), network.outputs(), wanted.batch, dice);
    batch.training = true;
    batch.place.step = step;
    run_network(network, batch, {.name = "mse"}, network.panel_width(wanted.batch));
    for (Parameter* parameter : network.parameters()) {
      if (parameter->gradient.size() != parameter->value.size()) continue;
      take_step({parameter->kind, std::ssize(parameter->value), parameter->value.data(),
                 parameter->gradient.data(), parameter->m1.data(),
                 parameter->m2.empty() ? nullptr : parameter->m2.data(),
                 parameter->age.empty() ? nullptr : parameter->age.data()});
    }
  }
  set_thread_count(0);
  std::vector<float> all = values_of(network);
  for (const auto array : {&Parameter::m1, &Parameter::m2}) {
    const std::vector<float> more = all_of(network, array);
    all.insert(all.end(), more.begin(), more.end());
  }
  for (Parameter* parameter : network.parameters())
    all.insert(all.end(), parameter->age.begin(), parameter->age.end());
  return all;
}

void expect_the_same_bits(const Case& wanted) {
  const std::vector<float> kept = after_steps(wanted, Storage::kFast, Gradients::kKept, 1);
  for (const float value : kept) ASSERT_TRUE(std::isfinite(value));
  for (const Storage storage : {Storage::kFast, Storage::kCompact})
    for (const int threads : {1, 2, 3, 8})
      EXPECT_EQ(after_steps(wanted, storage, Gradients::kUsedAtOnce, threads), kept)
          << (storage == Storage::kFast ? "fast, " : "compact, ") << wanted.spec.activation << ", batch "
          << wanted.batch << ", " << threads << " threads";
}

TEST(WeightStep, LearnsTheBitsOfKeptGradientsForEveryActivation) {
  for (const ActivationInfo& activation : activations())
    expect_the_same_bits({.spec = {.sizes = {40, 60, 50, 30, 4},
                                   .activation = std::string(activation.name),
                                   .densities = {0.2}},
                          .batch = 20});
}

TEST(WeightStep, LearnsTheBitsOfKeptGradientsForEveryBatchSize) {
  for (const std::int32_t batch : {1, 15, 16, 17, 33, 64, 100, 130, 300})
    expect_the_same_bits(
        {.spec = {.sizes = {30, 50, 40, 3}, .densities = {0.3}, .dropout = 0.3}, .batch = batch});
}

TEST(WeightStep, LearnsTheBitsOfLinesFromBatchesThatTakeLess) {
  for (const std::string& target : kernels::available_targets()) {
    SCOPED_TRACE(target);
    kernels::force_target(target);
    for (const auto& [batch, width] : {std::pair{1, 2}, {2, 2}, {3, 4}, {4, 4}, {5, 8}, {8, 8}, {9, 16}}) {
      const NetworkSpec spec{.sizes = {30, 50, 40, 3}, .densities = {0.3}, .dropout = 0.3};
      expect_the_same_bits({.spec = spec, .batch = batch});
      Dice dice;
      NetworkSpec compact = spec;
      EXPECT_EQ(make_network(spec, dice).panel_width(batch), 16);
      compact.storage = Storage::kCompact;
      EXPECT_EQ(make_network(compact, dice).panel_width(batch), width);
    }
  }
  kernels::force_target("");
}

TEST(WeightStep, LearnsTheBitsOfKeptGradientsWithAllThatAnOptimizerKeeps) {
  expect_the_same_bits(
      {.spec = {.sizes = {30, 50, 40, 3}, .densities = {0.3}}, .batch = 16, .long_state = true});
}

TEST(WeightStep, LearnsTheBitsOfKeptGradientsWithRowsThatAreEmptyOrLongerThanABlock) {
  // Most of 3,000 targets have no connection; each of 2 outputs has some 2,700 and more than one block of
  // them.
  expect_the_same_bits({.spec = {.sizes = {50, 3000, 2}, .densities = {0.002, 0.9}}, .batch = 16});
  expect_the_same_bits({.spec = {.sizes = {9000, 2, 40}, .densities = {0.8, 0.5}}, .batch = 16});
  expect_the_same_bits({.spec = {.sizes = {20, 700, 30, 2}, .densities = {0.001, 0.0001, 0.2}}, .batch = 16});
}

TEST(WeightStep, LearnsTheSameBitsFromFiles) {
  // The first layer has 2.4 million connections and so three windows, cut at no page; the rest is one.
  for (const bool long_state : {false, true}) {
    Case wanted{.spec = {.sizes = {1501, 2003, 1}, .densities = {0.8, 1.0}, .dropout = 0.2},
                .batch = 20,
                .long_state = long_state};
    const std::vector<float> expected = after_steps(wanted, Storage::kCompact, Gradients::kUsedAtOnce, 1);
    wanted.folder = ::testing::TempDir();
    EXPECT_EQ(after_steps(wanted, Storage::kCompact, Gradients::kUsedAtOnce, 3), expected);
  }
}

TEST(CompactLinear, KeepsNoGradient) {
  CompactLinear layer({.inputs = 30, .outputs = 20}, random_topology(20, 30, 100, {.seed = 1}));
  EXPECT_TRUE(layer.weight().gradient.empty());
  EXPECT_EQ(layer.weight().value.size(), 100u);
}

TEST(CompactLinear, RefusesToLearnWithoutAStep) {
  Dice dice;
  Network network = make_network({.sizes = {10, 10, 2}, .storage = Storage::kCompact}, dice);
  oracle::Batch batch = make_batch("mse", 10, 2, 4, dice);
  batch.training = true;
  EXPECT_THROW(run_network(network, batch, {.name = "mse"}, 16), std::logic_error);
}

}  // namespace
}  // namespace tulle
