#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <stdexcept>

#include "tulle/base/parallel.h"
#include "tulle/nn/loss.h"
#include "tulle/nn/test_network.h"

namespace tulle {

ComputeLoss cross_entropy, squared_error;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

using Rows = std::vector<std::vector<float>>;  // [sample][output]

// What the gradient of a loss is the derivative of, for one sample: the textbook's formula in double. mse
// has the published gradient, that of half the square.
double objective(std::string_view loss, const std::vector<double>& z, const std::vector<double>& wanted) {
  double sum = 0, exponentials = 0;
  for (const double v : z) exponentials += std::exp(v);
  for (std::size_t c = 0; c < z.size(); ++c) {
    const double probability = 1 / (1 + std::exp(-z[c]));
    if (loss == "cross-entropy")
      sum -= wanted[c] * std::log(std::exp(z[c]) / exponentials);
    else if (loss == "bce")
      sum -= wanted[c] * std::log(probability) + (1 - wanted[c]) * std::log(1 - probability);
    else if (loss == "mse")
      sum += 0.5 * (z[c] - wanted[c]) * (z[c] - wanted[c]);
    else
      throw std::logic_error("no definition of loss " + std::string(loss));
  }
  return sum;
}

struct Found {
  LossResult result;
  Rows gradient;
  std::vector<float> padding;  // the gradient in the lanes beyond the batch
};
Found compute(const LossInfo& loss, const Rows& z, const Targets& targets, double smoothing = 0.0,
              int width = 16) {
  PanelBuffer memory, gradient_memory;
  const Panels<float> panels = to_panels(z, width, memory);
  const Panels<float> gradient = gradient_memory.view(panels.features, panels.batch, width);
  for (std::int64_t i = 0; i < gradient.count() * gradient.panel_size(); ++i) gradient.data[i] = kNan;
  Found found{loss.compute(panels, targets, {.label_smoothing = smoothing}, gradient), to_rows(gradient), {}};
  for (std::int32_t b = gradient.batch; b < gradient.count() * width; ++b)
    for (std::int32_t c = 0; c < gradient.features; ++c) found.padding.push_back(gradient.at(b, c));
  return found;
}

const LossInfo& named(std::string_view name) {
  for (const LossInfo& info : losses())
    if (info.name == name) return info;
  throw std::logic_error("no such loss");
}

class EveryLoss : public ::testing::TestWithParam<LossInfo> {};

TEST_P(EveryLoss, GradientIsTheCentralDifferenceOfTheMeanOverTheTrueBatch) {
  Dice dice;
  constexpr double kStep = 1e-5;
  for (int trial = 0; trial < 60; ++trial) {
    const std::int32_t samples = between(dice, 1, 40), outputs = between(dice, 1, 6);
    const double smoothing = GetParam().name == "cross-entropy" && trial % 2 == 1 ? 0.15 : 0.0;
    const int width = kernels::kWidths[trial % 4];
    const oracle::Batch batch = make_batch(std::string(GetParam().name), 1, outputs, samples, dice);
    Rows z;
    std::vector<float> values;
    for (std::int32_t b = 0; b < samples; ++b) {
      z.emplace_back();
      for (std::int32_t c = 0; c < outputs; ++c) z.back().push_back(4.0f * dice.value());
      if (!batch.values.empty())
        values.insert(values.end(), batch.values[static_cast<std::size_t>(b)].begin(),
                      batch.values[static_cast<std::size_t>(b)].end());
    }
    const Targets targets{.classes = batch.classes, .values = values};
    const Found found = compute(GetParam(), z, targets, smoothing, width);
    for (std::size_t b = 0; b < z.size(); ++b) {
      std::vector<double> wanted;
      for (std::size_t c = 0; c < z[b].size(); ++c)
        wanted.push_back((1 - smoothing) * batch.wanted(b, c) + smoothing / outputs);
      for (std::size_t c = 0; c < z[b].size(); ++c) {
        std::vector<double> above(z[b].begin(), z[b].end()), below = above;
        above[c] += kStep;
        below[c] -= kStep;
        const double difference =
            (objective(GetParam().name, above, wanted) - objective(GetParam().name, below, wanted)) /
            (2 * kStep) / samples;
        ASSERT_NEAR(found.gradient[b][c], difference, 1e-6 / samples) << "sample " << b << ", output " << c;
      }
    }
  }
}

TEST_P(EveryLoss, ValueIsTheSumOverTheSamples) {
  Dice dice;
  const oracle::Batch batch = make_batch(std::string(GetParam().name), 1, 3, 21, dice);
  Rows z;
  std::vector<float> values;
  double wanted = 0;
  for (std::size_t b = 0; b < 21; ++b) {
    z.push_back({dice.value(), 4 * dice.value(), dice.value()});
    for (std::size_t c = 0; c < 3 && !batch.values.empty(); ++c) values.push_back(batch.values[b][c]);
    const double sample = objective(GetParam().name, {z[b].begin(), z[b].end()},
                                    {batch.wanted(b, 0), batch.wanted(b, 1), batch.wanted(b, 2)});
    // mse reports the mean square of the entries, twice the objective over their number.
    wanted += GetParam().name == "mse" ? 2 * sample / 3 : sample;
  }
  const Found found = compute(GetParam(), z, {.classes = batch.classes, .values = values});
  EXPECT_NEAR(found.result.loss_sum, wanted, 1e-6 * wanted);
}

TEST_P(EveryLoss, LeavesZerosInThePaddedLanesAndNumbersElsewhere) {
  for (const int width : kernels::kWidths) {
    const std::vector<std::int32_t> classes(21, 1);
    const Found found = compute(GetParam(), Rows(21, {0.5f, -1.0f}), {.classes = classes}, 0.0, width);
    for (const float value : found.padding) EXPECT_EQ(value, 0.0f) << "width " << width;
    EXPECT_EQ(found.padding.size(), static_cast<std::size_t>(2 * ((21 + width - 1) / width * width - 21)));
    for (const auto& row : found.gradient)
      for (const float value : row) EXPECT_TRUE(std::isfinite(value));
  }
}

TEST_P(EveryLoss, GivesTheSameValueWhenNoGradientIsWanted) {
  const std::vector<std::int32_t> classes{0, 1, 1};
  const Rows z{{0.5f, 0.25f}, {1.0f, 2.0f}, {3.0f, -1.0f}};
  PanelBuffer memory;
  const LossResult alone = GetParam().compute(to_panels(z, 16, memory), {.classes = classes}, {}, {});
  const Found both = compute(GetParam(), z, {.classes = classes});
  EXPECT_EQ(alone.loss_sum, both.result.loss_sum);
  EXPECT_EQ(alone.correct, 2);
  EXPECT_EQ(both.result.correct, 2);
}

TEST_P(EveryLoss, IsFiniteForHugeOutputs) {
  const std::vector<std::int32_t> classes{0, 1};
  for (const float huge : {90.0f, 1e4f, 1e18f, 3e38f}) {
    const Found found =
        compute(GetParam(), {{huge, -huge}, {huge, -huge}}, {.classes = classes}, /*smoothing=*/0.1);
    EXPECT_TRUE(std::isfinite(found.result.loss_sum)) << huge;
    EXPECT_GE(found.result.loss_sum, 0.0) << huge;
    for (const auto& row : found.gradient)
      for (const float value : row) EXPECT_TRUE(std::isfinite(value)) << huge;
  }
}

TEST_P(EveryLoss, IsNanIfAnyOutputIs) {
  // The training stops on it, so that no NaN may hide, wherever it stands.
  const std::vector<std::int32_t> classes{0, 1};
  for (std::size_t b = 0; b < 2; ++b)
    for (std::size_t c = 0; c < 3; ++c) {
      Rows z{{1.0f, 2.0f, 3.0f}, {3.0f, 2.0f, 1.0f}};
      z[b][c] = kNan;
      const Found found = compute(GetParam(), z, {.classes = classes});
      EXPECT_TRUE(std::isnan(found.result.loss_sum)) << "sample " << b << ", output " << c;
    }
}

TEST_P(EveryLoss, DoesNotSeeThePaddedLanes) {
  const std::vector<std::int32_t> classes{0};
  PanelBuffer memory;
  const Panels<float> z = to_panels({{1.0f, 2.0f}}, 16, memory);
  const LossResult before = GetParam().compute(z, {.classes = classes}, {}, {});
  for (std::int32_t lane = 1; lane < 16; ++lane) z.at(lane, 0) = z.at(lane, 1) = kNan;
  const LossResult after = GetParam().compute(z, {.classes = classes}, {}, {});
  EXPECT_EQ(before.loss_sum, after.loss_sum);
  EXPECT_EQ(before.correct, after.correct);
}

// More samples and outputs than one line of lanes holds, and panels of every width; the last is not full.
struct ManyLanes {
  Rows z;
  std::vector<std::int32_t> classes;
  std::vector<float> values;  // empty: classes
  Targets targets() const { return {.classes = classes, .values = values}; }
  Targets of_sample(std::size_t b) const {
    if (values.empty()) return {.classes = std::span(classes).subspan(b, 1)};
    return {.classes = {}, .values = std::span(values).subspan(b * z[0].size(), z[0].size())};
  }
};
constexpr int kAllWidths[] = {2, 4, 8, 16, 32, 64, 128};

ManyLanes many_lanes(std::string_view loss) {
  Dice dice;
  ManyLanes many;
  for (std::int32_t b = 0; b < 149; ++b) {
    many.z.emplace_back();
    for (std::int32_t c = 0; c < 331; ++c) {
      many.z.back().push_back(4.0f * dice.value());
      if (loss != "cross-entropy") many.values.push_back(dice.below(3) == 0 ? 1.0f : 0.0f);
    }
    if (loss == "cross-entropy") many.classes.push_back(between(dice, 0, 330));
  }
  return many;
}

TEST_P(EveryLoss, OfABatchIsThatOfItsSamplesInTheirOrder) {
  const ManyLanes many = many_lanes(GetParam().name);
  double loss_sum = 0.0;
  std::int64_t correct = 0;
  Rows gradient;
  for (std::size_t b = 0; b < many.z.size(); ++b) {
    const Found alone = compute(GetParam(), {many.z[b]}, many.of_sample(b));
    loss_sum += alone.result.loss_sum;
    correct += alone.result.correct;
    gradient.push_back(alone.gradient[0]);
    for (float& slope : gradient.back()) slope *= 1.0f / static_cast<float>(many.z.size());
  }
  for (const int width : kAllWidths) {
    const Found found = compute(GetParam(), many.z, many.targets(), 0.0, width);
    EXPECT_EQ(found.result.loss_sum, loss_sum) << "width " << width;
    EXPECT_EQ(found.result.correct, correct) << "width " << width;
    EXPECT_TRUE(found.gradient == gradient) << "width " << width;
    for (const float value : found.padding) ASSERT_EQ(value, 0.0f) << "width " << width;
  }
}

TEST_P(EveryLoss, IsTheSameForAnyNumberOfThreads) {
  const ManyLanes many = many_lanes(GetParam().name);
  for (const int width : kAllWidths) {
    set_thread_count(1);
    const Found one = compute(GetParam(), many.z, many.targets(), 0.0, width);
    set_thread_count(3);
    const Found three = compute(GetParam(), many.z, many.targets(), 0.0, width);
    set_thread_count(0);
    EXPECT_EQ(one.result.loss_sum, three.result.loss_sum) << "width " << width;
    EXPECT_EQ(one.result.correct, three.result.correct) << "width " << width;
    EXPECT_TRUE(one.gradient == three.gradient) << "width " << width;
  }
}

INSTANTIATE_TEST_SUITE_P(Losses, EveryLoss, ::testing::ValuesIn(losses().begin(), losses().end()),
                         [](const auto& info) { return test_name(info.param.name); });

TEST(CrossEntropy, IsTheGapWhenAWrongClassWinsByFarAndZeroWhenTheRightOneDoes) {
  const std::vector<std::int32_t> wrong{1}, right{0};
  const Found lost = compute(named("cross-entropy"), {{2e4f, -1e4f}}, {.classes = wrong});
  EXPECT_DOUBLE_EQ(lost.result.loss_sum, 3e4);
  EXPECT_EQ(lost.gradient, (Rows{{1.0f, -1.0f}}));
  const Found won = compute(named("cross-entropy"), {{2e4f, -1e4f}}, {.classes = right});
  EXPECT_EQ(won.result.loss_sum, 0.0);
  EXPECT_EQ(won.gradient, (Rows{{0.0f, 0.0f}}));
}

TEST(CrossEntropy, SmoothedLabelsShareTheirWeightAmongAllClasses) {
  // Equal outputs: p = 1/4 each; s = 0.2 wants 0.85 of the class and 0.05 of the others.
  const std::vector<std::int32_t> classes{2};
  const Found found = compute(named("cross-entropy"), {{7, 7, 7, 7}}, {.classes = classes}, 0.2);
  EXPECT_NEAR(found.result.loss_sum, std::log(4.0), 1e-7);
  const Rows wanted{{0.2f, 0.2f, -0.6f, 0.2f}};
  for (std::size_t c = 0; c < 4; ++c) EXPECT_NEAR(found.gradient[0][c], wanted[0][c], 1e-7);
}

TEST(CrossEntropy, AcceptsProbabilitiesAsTargets) {
  const std::vector<float> values{0.25f, 0.75f};
  const Found found = compute(named("cross-entropy"), {{0, 0}}, {.values = values});
  EXPECT_NEAR(found.result.loss_sum, std::log(2.0), 1e-7);
  EXPECT_EQ(found.gradient, (Rows{{0.25f, -0.25f}}));
  EXPECT_EQ(found.result.correct, 0);
}

TEST(SquaredError, HasThePublishedGradientWithoutTheFactorTwo) {
  const std::vector<float> values{1.0f, 0.0f, 2.0f, 2.0f};
  const Found found = compute(named("mse"), {{3.0f, 1.0f}, {2.0f, 0.0f}}, {.values = values});
  EXPECT_EQ(found.gradient, (Rows{{1.0f, 0.5f}, {0.0f, -1.0f}}));  // (z - y) / 2 samples
  EXPECT_EQ(found.result.loss_sum, 2.5 + 2.0);
}

TEST(SquaredError, WithFactorTwoHasTheDerivativeOfTheSquareAndTheSameValue) {
  PanelBuffer memory, plain_memory, twice_memory;
  const Panels<float> z = to_panels({{3, -1}, {0.5, 2}}, 16, memory);
  const Panels<float> plain = plain_memory.view(2, 2, 16), twice = twice_memory.view(2, 2, 16);
  const std::vector<float> wanted{1, 0, 0, 2};
  const Targets targets{.classes = {}, .values = wanted};
  EXPECT_EQ(squared_error(z, targets, {.mse_factor = 2.0}, twice).loss_sum,
            squared_error(z, targets, {}, plain).loss_sum);
  for (std::int32_t b = 0; b < 2; ++b)
    for (std::int32_t c = 0; c < 2; ++c) EXPECT_EQ(twice.at(b, c), 2.0f * plain.at(b, c));
  EXPECT_EQ(twice.at(0, 0), 2.0f);  // 2 (3 - 1) / batch
}

TEST(CrossEntropy, ClippedReportsProbabilitiesInsideTheirLimitsAndLearnsAsBefore) {
  PanelBuffer memory, plain_memory, clipped_memory;
  const Panels<float> z = to_panels({{0, 100}, {50, 0}, {1, 0}}, 16, memory);
  const Panels<float> plain = plain_memory.view(2, 3, 16), clipped = clipped_memory.view(2, 3, 16);
  const std::vector<std::int32_t> classes{0, 0, 0};
  const Targets targets{.classes = classes, .values = {}};
  const double whole = cross_entropy(z, targets, {}, plain).loss_sum;
  const double found = cross_entropy(z, targets, {.ce_clip = 1e-3}, clipped).loss_sum;
  EXPECT_NEAR(whole, 100.0 + std::log1p(std::exp(-1.0)), 1e-6);
  EXPECT_NEAR(found, -std::log(1e-3) - std::log1p(-1e-3) + std::log1p(std::exp(-1.0)), 1e-6);
  for (std::int32_t b = 0; b < 3; ++b)
    for (std::int32_t c = 0; c < 2; ++c) EXPECT_EQ(clipped.at(b, c), plain.at(b, c));
}

TEST(BinaryCrossEntropy, KeepsTinyLossesOfSureAnswers) {
  const std::vector<float> values{1.0f};
  const Found found = compute(named("bce"), {{40.0f}}, {.values = values});
  EXPECT_NEAR(found.result.loss_sum, std::exp(-40.0), 1e-20);
}

TEST(ArgMax, IsTheFirstOfTheLargestAndSkipsNan) {
  const auto of = [](std::vector<float> row) {
    PanelBuffer memory;
    return arg_max(to_panels({row}, 16, memory), 0);
  };
  EXPECT_EQ(of({1, 3, 2}), 1);
  EXPECT_EQ(of({2, 5, 5}), 1);
  EXPECT_EQ(of({-0.0f, 0.0f}), 0);
  EXPECT_EQ(of({kNan, -1, 4}), 2);
  EXPECT_EQ(of({3, kNan, 4}), 2);
  EXPECT_EQ(of({-INFINITY, kNan}), 0);
  EXPECT_EQ(of({kNan, kNan}), -1);
}

TEST(Predictions, AreProbabilitiesForClassesAndThePlainOutputsOtherwise) {
  const auto of = [](std::string_view loss, const Rows& rows) {
    PanelBuffer memory;
    std::vector<float> out(rows.size() * rows[0].size());
    predictions(loss, to_panels(rows, 16, memory), out);
    return out;
  };
  const std::vector<float> even{0.5f, 0.5f, 1.0f, 0.0f}, plain{3.0f, -1e4f};
  EXPECT_EQ(of("cross-entropy", {{3.0f, 3.0f}, {1e4f, -1e4f}}), even);
  EXPECT_EQ(of("bce", {{0.0f, 0.0f}, {1e4f, -1e4f}}), even);
  EXPECT_EQ(of("mse", {{3.0f, -1e4f}}), plain);
}

TEST(EveryLoss, AnIntegerWeightIsTheSampleAsManyTimesAndMultipliesThatOfItsClass) {
  const float class_weights[] = {2.0f, 0.5f, 1.0f}, weights[] = {3.0f, 0.0f, 1.0f};
  const std::vector<std::int32_t> classes{0, 2, 1}, repeated{0, 0, 0, 1};
  const LossOptions options{.class_weights = class_weights};
  const std::vector<float> a{0.5f, -1.0f, 0.2f}, b{1.0f, 2.0f, 3.0f}, c{0.3f, 0.1f, -0.4f};
  for (const LossInfo& loss : losses()) {
    PanelBuffer z_memory, many_memory, weighted_memory, plain_memory;
    const Panels<float> weighted = weighted_memory.view(3, 3, 16), plain = plain_memory.view(3, 4, 16);
    const double sum = loss.compute(to_panels({a, b, c}, 16, z_memory),
                                    {.classes = classes, .values = {}, .weights = weights}, options, weighted)
                           .loss_sum;
    const double wanted = loss.compute(to_panels({a, a, a, c}, 16, many_memory),
                                       {.classes = repeated, .values = {}}, options, plain)
                              .loss_sum;
    EXPECT_NEAR(sum, wanted, 1e-6 * wanted) << loss.name;
    for (std::int32_t output = 0; output < 3; ++output) {
      EXPECT_NEAR(3 * weighted.at(0, output), 3 * 4 * plain.at(0, output), 1e-6f) << loss.name;
      EXPECT_EQ(weighted.at(1, output), 0.0f) << loss.name;
      EXPECT_NEAR(3 * weighted.at(2, output), 4 * plain.at(3, output), 1e-6f) << loss.name;
    }
  }
}

TEST(EveryLoss, ClassWeightsMultiplyLossAndGradientOfTheirSamples) {
  const float weights[] = {2.0f, 0.0f, 0.5f};
  const std::vector<std::int32_t> classes{2, 0, 1, 2};
  Dice dice;
  for (const LossInfo& loss : losses()) {
    PanelBuffer z_memory, plain_memory, weighted_memory;
    const Panels<float> z = z_memory.view(3, 4, 16), plain = plain_memory.view(3, 4, 16),
                        weighted = weighted_memory.view(3, 4, 16);
    for (std::int32_t b = 0; b < 4; ++b)
      for (std::int32_t c = 0; c < 3; ++c) z.at(b, c) = dice.value();
    loss.compute(z, {.classes = classes, .values = {}}, {.label_smoothing = 0.1}, plain);
    const double sum = loss.compute(z, {.classes = classes, .values = {}},
                                    {.label_smoothing = 0.1, .class_weights = weights}, weighted)
                           .loss_sum;
    double wanted = 0.0;
    for (std::int32_t b = 0; b < 4; ++b) {
      const float weight = weights[classes[static_cast<std::size_t>(b)]];
      for (std::int32_t c = 0; c < 3; ++c)
        EXPECT_NEAR(weighted.at(b, c), weight * plain.at(b, c), 1e-7f) << loss.name;
      PanelBuffer one_memory;
      const Panels<float> one = one_memory.view(3, 1, 16);
      for (std::int32_t c = 0; c < 3; ++c) one.at(0, c) = z.at(b, c);
      const std::vector<std::int32_t> own{classes[static_cast<std::size_t>(b)]};
      wanted += weight *
                loss.compute(one, {.classes = own, .values = {}}, {.label_smoothing = 0.1}, Panels<float>{})
                    .loss_sum;
    }
    EXPECT_NEAR(sum, wanted, 1e-6) << loss.name;
  }
}

TEST(EveryLoss, CountsASampleOfSeveralLabelsRightIfItsLargestOutputIsOneOfThem) {
  PanelBuffer memory;
  const Panels<float> z = memory.view(3, 3, 16);
  z.at(0, 1) = 1.0f;
  z.at(1, 2) = 1.0f;
  z.at(2, 0) = 1.0f;
  const std::vector<float> wanted{1, 1, 0, 1, 1, 0, 0, 0, 0};
  for (const LossInfo& loss : losses())
    if (loss.name != "cross-entropy") {
      EXPECT_EQ(loss.compute(z, {.classes = {}, .values = wanted}, {}, Panels<float>{}).correct, 1)
          << loss.name;
    }
}

}  // namespace
}  // namespace tulle
