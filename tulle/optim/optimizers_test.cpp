#include <gtest/gtest.h>

#include <algorithm>

#include <array>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "tulle/base/parallel.h"
#include "tulle/kernels/test_problem.h"
#include "tulle/optim/clipping.h"
#include "tulle/optim/optimizer.h"
#include "tulle/optim/pytorch_sequences.h"
#include "tulle/optim/reference.h"

namespace tulle {

MakeOptimizer make_adam;

namespace {

using kernels::Dice;
using Kind = Parameter::Kind;

constexpr Kind kKinds[] = {Kind::kWeight, Kind::kBias, Kind::kActivation};

const OptimizerInfo& optimizer_named(std::string_view name) {
  for (const OptimizerInfo& info : optimizers())
    if (info.name == name) return info;
  throw std::logic_error("no such optimizer");
}

// The values of one weight after each step, from `start`, with these gradients.
std::vector<float> sequence(std::string_view name, const OptimizerOptions& options, float rate, float start,
                            const std::vector<float>& gradients, Kind kind = Kind::kWeight) {
  const auto optimizer = optimizer_named(name).make(options);
  Parameter parameter("p", kind, 1);
  parameter.value[0] = start;
  optimizer->prepare(parameter);
  std::vector<float> values;
  for (const float g : gradients) {
    parameter.gradient[0] = g;
    optimizer->step(parameter, rate);
    values.push_back(parameter.value[0]);
  }
  return values;
}

// By hand, in numbers that are exact in binary: mu = 1/2, eta = 1/4, lambda = 1/8, from theta = 1 with
// gradients 1, -2, 4.
const std::vector<float> kGradients{1.0f, -2.0f, 4.0f};
const OptimizerOptions kMomentum{.momentum = 0.5, .weight_decay = 0.125};
const OptimizerOptions kNesterov{.momentum = 0.5, .nesterov = true, .weight_decay = 0.125};

TEST(SetSgd, FollowsThreeStepsByHand) {
  // v: -1/4, 3/8, -13/16.   theta: 1 - 1/4 - 1/8 = 5/8;  5/8 + 3/8 - 5/64 = 59/64;
  // 59/64 - 52/64 - 59/512 = -3/512.
  const std::vector<float> wanted{0.625f, 59.0f / 64, -3.0f / 512};
  EXPECT_EQ(sequence("set-sgd", kMomentum, 0.25f, 1.0f, kGradients), wanted);
}

TEST(SetSgd, FollowsThreeNesterovStepsByHand) {
  // moves mu v - eta g: -1/8 - 1/4 = -3/8;  3/16 + 1/2 = 11/16;  -13/32 - 1 = -45/32.
  // theta: 1 - 3/8 - 1/8 = 1/2;  1/2 + 11/16 - 1/16 = 9/8;  9/8 - 45/32 - 9/64 = -27/64.
  const std::vector<float> wanted{0.5f, 1.125f, -27.0f / 64};
  EXPECT_EQ(sequence("set-sgd", kNesterov, 0.25f, 1.0f, kGradients), wanted);
}

TEST(Sgd, FollowsThreeStepsByHand) {
  // g' = g + theta / 8: 9/8;  v = 9/8;  theta = 1 - 9/32 = 23/32.
  // g' = -2 + 23/256 = -489/256;  v = 144/256 - 489/256 = -345/256;  theta = 23/32 + 345/1024 = 1081/1024.
  // g' = 4 + 1081/8192 = 33849/8192;  v = -5520/8192 + 33849/8192 = 28329/8192;
  // theta = 1081/1024 - 28329/32768 = 6263/32768.
  const std::vector<float> wanted{23.0f / 32, 1081.0f / 1024, 6263.0f / 32768};
  EXPECT_EQ(sequence("sgd", kMomentum, 0.25f, 1.0f, kGradients), wanted);
}

TEST(Sgd, FollowsTwoNesterovStepsByHand) {
  // g' = 9/8, v = 9/8, theta = 1 - (9/8 + 9/16) / 4 = 37/64.
  // g' = -2 + 37/512 = -987/512, v = 288/512 - 987/512 = -699/512;
  // theta = 37/64 - (-1974/1024 - 699/1024) / 4 = 2368/4096 + 2673/4096 = 5041/4096.
  const std::vector<float> wanted{37.0f / 64, 5041.0f / 4096};
  EXPECT_EQ(sequence("sgd", kNesterov, 0.25f, 1.0f, {1.0f, -2.0f}), wanted);
}

TEST(Sgdw, FollowsThreeStepsByHand) {
  // v: 1, -3/2, 13/4; decay factor eta lambda = 1/32.
  // theta: 1 - 1/4 - 1/32 = 23/32;  23/32 + 3/8 - 23/1024 = 1097/1024;
  // 1097/1024 - 832/1024 - 1097/32768 = 7383/32768.
  const std::vector<float> wanted{23.0f / 32, 1097.0f / 1024, 7383.0f / 32768};
  EXPECT_EQ(sequence("sgdw", kMomentum, 0.25f, 1.0f, kGradients), wanted);
}

TEST(Adam, FollowsThreeStepsByHand) {
  // b1 = 1/2, b2 = 3/4, e = 0.   m: 1/2, -3/4, 13/8;  mhat: 1, -1, 13/7.   s: 1/4, 19/16, 313/64;
  // shat: 1, 19/7, 313/37.   theta: 1 - 1/4;  + 1/4 / sqrt(19/7);  - 1/4 * 13/7 / sqrt(313/37).
  const OptimizerOptions options{.beta1 = 0.5, .beta2 = 0.75, .adam_epsilon = 0.0};
  const double second = 0.75 + 0.25 / std::sqrt(19.0 / 7.0);
  const double third = second - 0.25 * (13.0 / 7.0) / std::sqrt(313.0 / 37.0);
  const std::vector<float> found = sequence("adam", options, 0.25f, 1.0f, kGradients);
  EXPECT_NEAR(found[0], 0.75, 1e-7);
  EXPECT_NEAR(found[1], second, 2e-7);
  EXPECT_NEAR(found[2], third, 3e-7);
}

TEST(RecordedSequences, OfPyTorchAreFollowedStepByStep) {
  for (const reference::Recorded& recorded : reference::kRecorded) {
    const std::vector<float> found = sequence(recorded.name, recorded.options, reference::kRecordedRate,
                                              reference::kRecordedStart, reference::kRecordedGradients);
    ASSERT_EQ(found.size(), recorded.values.size());
    for (std::size_t step = 0; step < found.size(); ++step)
      EXPECT_NEAR(found[step], recorded.values[step], 1e-6) << recorded.name << ", step " << step + 1;
  }
}

TEST(Adam, AddsDecayToTheGradientWhereAdamwShrinksTheWeight) {
  // With e = 0 the first step is eta whatever the gradient, decay included; adamw shrinks by eta lambda on
  // top.
  const OptimizerOptions options{.weight_decay = 0.5, .adam_epsilon = 0.0};
  EXPECT_NEAR(sequence("adam", options, 0.25f, 2.0f, {1.0f})[0], 1.75f, 1e-6);
  EXPECT_NEAR(sequence("adam", options, 0.25f, -2.0f, {0.5f})[0], -1.75f, 1e-6) << "g' = 1/2 - 1";
  EXPECT_NEAR(sequence("adamw", options, 0.25f, 2.0f, {1.0f})[0], 1.5f, 1e-6);
}

TEST(Adam, FirstStepOfAGrownConnectionIsOneLearningRate) {
  // One connection of 1000 steps beside one just grown: zero state, age 0. With one bias correction for all
  // its first step would be (1 - 0.9) / sqrt(1 - 0.999) = 3.2 learning rates.
  for (const char* name : {"adam", "adamw"}) {
    const auto optimizer = optimizer_named(name).make({});
    Parameter parameter("p", Kind::kWeight, 2);
    optimizer->prepare(parameter);
    for (int t = 0; t < 1000; ++t) {
      parameter.gradient[0] = parameter.gradient[1] = 0.3f;
      optimizer->step(parameter, 0.001f);
    }
    EXPECT_EQ(parameter.age[1], 1000);
    parameter.value[1] = parameter.m1[1] = parameter.m2[1] = 0.0f;
    parameter.age[1] = 0;
    const float old = parameter.value[0];
    optimizer->step(parameter, 0.001f);
    EXPECT_NEAR(parameter.value[1], -0.001, 5e-10) << name;
    EXPECT_NEAR(parameter.value[0] - old, -0.001, 1e-6) << name;
    EXPECT_EQ(parameter.age[0], 1001);
    EXPECT_EQ(parameter.age[1], 1);
  }
}

TEST(Adam, AgeStopsAtTheLastCountAndStepsGoOn) {
  const auto optimizer = make_adam({});
  Parameter parameter("p", Kind::kWeight, 1);
  optimizer->prepare(parameter);
  parameter.age[0] = std::numeric_limits<std::uint16_t>::max() - 1;
  parameter.m1[0] = parameter.m2[0] = parameter.gradient[0] = 1.0f;
  for (int t = 1; t <= 3; ++t) {
    optimizer->step(parameter, 0.5f);
    EXPECT_EQ(parameter.age[0], std::numeric_limits<std::uint16_t>::max());
    EXPECT_NEAR(parameter.value[0], -0.5 * t, 1e-5);
  }
}

class EveryOptimizer : public ::testing::TestWithParam<OptimizerInfo> {
 protected:
  void TearDown() override { set_thread_count(0); }
};

// A parameter in the middle of a training.
Parameter used_parameter(const Optimizer& optimizer, Kind kind, std::size_t size, Dice& dice) {
  Parameter parameter("p", kind, size);
  optimizer.prepare(parameter);
  for (float& v : parameter.value) v = dice.value();
  for (int t = 0; t < 3; ++t) {
    for (float& g : parameter.gradient) g = dice.value();
    optimizer.step(parameter, 0.01f);
  }
  return parameter;
}

TEST_P(EveryOptimizer, EqualsItsPublishedFormulaInDoubleForTwoHundredSteps) {
  Dice dice;
  for (const bool nesterov : {false, true})
    for (const double decay : {0.0, 0.0002, 0.1})
      for (const Kind kind : kKinds) {
        const OptimizerOptions options{.nesterov = nesterov, .weight_decay = decay};
        const auto optimizer = GetParam().make(options);
        Parameter parameter("p", kind, 40);
        optimizer->prepare(parameter);
        std::vector<reference::Entry> twin(40);
        for (std::size_t i = 0; i < 40; ++i) twin[i].theta = parameter.value[i] = dice.value();
        const bool decays = reference::decays(GetParam().name, kind);
        for (int t = 1; t <= 200; ++t) {
          const float rate = 0.01f * (1.0f - static_cast<float>(t) / 400);
          for (std::size_t i = 0; i < 40; ++i) {
            // From 1 down to 1e-4, one to a connection.
            const float g = dice.value() * std::pow(10.0f, -static_cast<float>(i % 5));
            parameter.gradient[i] = g;
            reference::step(GetParam().name, options, decays, rate, g, twin[i]);
          }
          optimizer->step(parameter, rate);
          for (std::size_t i = 0; i < 40; ++i)
            ASSERT_NEAR(parameter.value[i], twin[i].theta, 1e-6 * (1 + std::abs(twin[i].theta)))
                << "step " << t << ", entry " << i << ", nesterov " << nesterov << ", decay " << decay;
        }
      }
}

TEST_P(EveryOptimizer, StepsTheSameBitsForAnyThreadCount) {
  std::array<AlignedVector<float>, 4> values;
  const int threads[] = {1, 2, 3, 8};
  for (std::size_t k = 0; k < values.size(); ++k) {
    Dice dice;
    set_thread_count(threads[k]);
    const auto optimizer = GetParam().make({.weight_decay = 0.01});
    values[k] = used_parameter(*optimizer, Kind::kWeight, 5 * kGrain + 3, dice).value;
    EXPECT_EQ(values[k], values[0]) << threads[k] << " threads";
  }
}

TEST(ClipByNorm, BringsTheNormDownToTheLimitWithTheSameBitsForAnyThreadCount) {
  const auto size = static_cast<std::size_t>(3 * kGrain + 5);  // whole pieces and some entries more
  std::vector<AlignedVector<float>> clipped;
  for (const int threads : {1, 2, 3}) {
    set_thread_count(threads);
    Dice dice;
    Parameter parameter("p", Kind::kWeight, size);
    for (float& g : parameter.gradient) g = dice.value();
    Parameter* const all[] = {&parameter};
    clip_by_norm(all, 2.0);
    double squares = 0.0;
    for (const float g : parameter.gradient) squares += static_cast<double>(g) * g;
    EXPECT_NEAR(std::sqrt(squares), 2.0, 1e-5);
    clipped.push_back(parameter.gradient);
    EXPECT_EQ(clipped.back(), clipped.front()) << threads << " threads";
  }
  set_thread_count(0);
}

TEST_P(EveryOptimizer, StepsOnFromACopiedState) {
  Dice dice;
  const OptimizerOptions options{.weight_decay = 0.01};
  const auto first = GetParam().make(options), second = GetParam().make(options);
  Parameter parameter = used_parameter(*first, Kind::kWeight, 50, dice);
  Parameter copy = parameter;
  second->prepare(copy);
  first->step(parameter, 0.01f);
  second->step(copy, 0.01f);
  EXPECT_EQ(copy.value, parameter.value);
  EXPECT_EQ(copy.m1, parameter.m1);
  EXPECT_EQ(copy.m2, parameter.m2);
  EXPECT_EQ(copy.age, parameter.age);
}

TEST_P(EveryOptimizer, PreparingKeepsTheStateThatIsThere) {
  Dice dice;
  const auto optimizer = GetParam().make({});
  const Parameter before = used_parameter(*optimizer, Kind::kWeight, 50, dice);
  Parameter after = before;
  optimizer->prepare(after);
  EXPECT_EQ(after.m1, before.m1);
  EXPECT_EQ(after.m2, before.m2);
  EXPECT_EQ(after.age, before.age);
}

TEST_P(EveryOptimizer, StepsAgainstTheGradient) {
  for (const float g : {3.0f, -0.2f}) {
    const float value = sequence(GetParam().name, {}, 0.01f, 1.0f, {g})[0];
    EXPECT_LT((value - 1.0f) * g, 0.0f);
  }
}

TEST_P(EveryOptimizer, LeavesConnectionsWithoutGradientAndDecayAlone) {
  for (const float start : {0.0f, 1.25f})
    for (const float value : sequence(GetParam().name, {}, 0.01f, start, {0.0f, 0.0f}))
      EXPECT_EQ(value, start);
}

TEST_P(EveryOptimizer, DecaysWeightsAndNeverActivationParametersAndBiasesOnlyInSetSgd) {
  for (const Kind kind : kKinds) {
    const float value = sequence(GetParam().name, {.weight_decay = 0.1}, 0.5f, 1.0f, {0.0f}, kind)[0];
    if (kind == Kind::kWeight || (kind == Kind::kBias && GetParam().name == "set-sgd"))
      EXPECT_LT(value, 1.0f);
    else
      EXPECT_EQ(value, 1.0f);
  }
}

TEST_P(EveryOptimizer, DecayFollowsTheLearningRateExceptInSetSgd) {
  const auto shrink = [&](float rate) {
    return 1.0f - sequence(GetParam().name, {.weight_decay = 0.25}, rate, 1.0f, {0.0f})[0];
  };
  if (GetParam().name == "set-sgd") {
    for (const float rate : {0.0f, 0.01f, 1.0f}) EXPECT_EQ(shrink(rate), 0.25f) << "rate " << rate;
  } else {
    EXPECT_EQ(shrink(0.0f), 0.0f);
    EXPECT_NEAR(shrink(0.5f), 2 * shrink(0.25f), 1e-6);
    EXPECT_GT(shrink(0.25f), 0.0f);
  }
}

INSTANTIATE_TEST_SUITE_P(Optimizers, EveryOptimizer,
                         ::testing::ValuesIn(optimizers().begin(), optimizers().end()), [](const auto& info) {
                           std::string name(info.param.name);
                           std::erase(name, '-');
                           return name;
                         });

TEST(Sgd, WithoutMomentumKeepsNothingAndTakesTheSameStep) {
  for (const char* name : {"sgd", "sgdw", "set-sgd"}) {
    const auto& info = *std::ranges::find(optimizers(), name, &OptimizerInfo::name);
    const auto plain = info.make({.momentum = 0.0, .weight_decay = 0.125});
    Parameter without("w", Parameter::Kind::kWeight, 5), with("w", Parameter::Kind::kWeight, 5);
    plain->prepare(without);
    EXPECT_TRUE(without.m1.empty()) << name;
    with.m1.assign(5, 0.0f);  // as if it were kept
    for (int step = 0; step < 3; ++step) {
      for (std::size_t i = 0; i < 5; ++i)
        without.gradient[i] = with.gradient[i] =
            0.1f * static_cast<float>(i + 1) - 0.3f * static_cast<float>(step);
      plain->step(without, 0.7f);
      plain->step(with, 0.7f);
    }
    EXPECT_EQ(without.value, with.value) << name;
    std::vector<float> pending(5, 1.0f);
    plain->pending(without, 0.7f, pending);
    EXPECT_EQ(pending, std::vector<float>(5, 0.0f)) << name;
  }
}

}  // namespace
}  // namespace tulle
