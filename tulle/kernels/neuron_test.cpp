#include "tulle/kernels/neuron.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tulle/kernels/test_problem.h"

namespace tulle::kernels {
namespace {

constexpr std::int64_t kNeurons = 37;  // not a multiple of the 16 rows that are summed together

Guarded<float> random_panel(int width, Dice& dice) {
  Guarded<float> panel(kNeurons * width);
  for (float& v : panel.all()) v = dice.value();
  return panel;
}

// What an activation makes of z, and the derivative it leaves for the backward pass.
struct Point {
  float value, derivative;
};

Point activate(float z, float slope, bool zero_is_negative) {
  Guarded<float> panel(16, z), grad(16, 1.0f);
  Guarded<std::uint16_t> bits(1);
  apply_epilogue({0, 1}, 16, panel.data(),
                 {.slope = slope, .zero_is_negative = zero_is_negative, .positive_bits = bits.data()});
  apply_gate({0, 1}, 16, grad.data(), {.slope = slope, .positive_bits = bits.data()});
  for (std::size_t s = 1; s < 16; ++s) {
    EXPECT_EQ(panel[s], panel[0]);
    EXPECT_EQ(grad[s], grad[0]);
  }
  return {panel[0], grad[0]};
}

class NeuronKernels : public EveryTarget {};

TEST_P(NeuronKernels, AllReluHasItsSlopeBelowZeroAndDerivativeOneAtZero) {
  // Layers 2 and 4 have slope -alpha, 3 and 5 +alpha.
  for (const float slope : {-0.6f, 0.6f}) {
    EXPECT_EQ(activate(-2.0f, slope, false).value, slope * -2.0f);
    EXPECT_EQ(activate(-2.0f, slope, false).derivative, slope);
    for (const float zero : {-0.0f, 0.0f}) {
      EXPECT_EQ(activate(zero, slope, false).value, 0.0f);
      EXPECT_EQ(activate(zero, slope, false).derivative, 1.0f);
    }
    EXPECT_EQ(activate(3.0f, slope, false).value, 3.0f);
    EXPECT_EQ(activate(3.0f, slope, false).derivative, 1.0f);
  }
}

TEST_P(NeuronKernels, ReluIsFlatAtZero) {
  for (const float zero : {-0.0f, 0.0f}) {
    EXPECT_EQ(activate(zero, 0.0f, true).value, 0.0f);
    EXPECT_EQ(activate(zero, 0.0f, true).derivative, 0.0f);
  }
  EXPECT_EQ(activate(-2.0f, 0.0f, true).value, 0.0f);
  EXPECT_EQ(activate(-2.0f, 0.0f, true).derivative, 0.0f);
  EXPECT_EQ(activate(0x1p-149f, 0.0f, true).derivative, 1.0f) << "the smallest denormal is positive";
}

TEST_P(NeuronKernels, EpilogueAndItsSignBitsEqualTheDefinitionForEverySample) {
  Dice dice;
  for (const int width : kAllWidths) {
    for (int variant = 0; variant < 16; ++variant) {
      SCOPED_TRACE("width " + std::to_string(width) + ", variant " + std::to_string(variant));
      Guarded<float> panel = random_panel(width, dice);
      Guarded<float> bias(kNeurons);
      for (float& b : bias.all()) b = dice.value();
      panel[1] = -bias[0];  // z = 0 exactly
      panel[static_cast<std::size_t>(width) * 3 + 9] = NAN;
      const Guarded<float> sums = panel;
      const Guarded<std::uint16_t> keep = random_bits(kNeurons, width, dice);
      Guarded<std::uint16_t> positive = random_bits(kNeurons, width, dice);
      const Epilogue e{.bias = (variant & 1) != 0 ? bias.data() : nullptr,
                       .slope = (variant & 2) != 0 ? 0.25f : -0.6f,
                       .zero_is_negative = (variant & 2) != 0,
                       .cap = (variant & 8) != 0 ? 0.5f : INFINITY,
                       .positive_bits = positive.data(),
                       .keep_bits = (variant & 4) != 0 ? keep.data() : nullptr,
                       .keep_scale = (variant & 4) != 0 ? 1.0f / 0.7f : 1.0f};
      apply_epilogue({0, kNeurons}, width, panel.data(), e);
      for (std::int64_t row = 0; row < kNeurons; ++row) {
        for (int s = 0; s < width; ++s) {
          const double sum = sums[reference::at(row, width, s)];
          const double expected = reference::epilogue(e, row, width, s, sum);
          const double found = panel[reference::at(row, width, s)];
          // Three roundings: the bias, the slope, the scale.
          const double bound = 4 * 0x1p-24 * std::abs(expected);
          ASSERT_TRUE(std::isnan(expected) ? std::isnan(found) : std::abs(found - expected) <= bound)
              << found << " != " << expected;
          // A sum of two floats is never rounded to zero, so the sign of z is exact.
          const double z = sum + (e.bias == nullptr ? 0.0 : double{e.bias[row]});
          ASSERT_EQ(reference::bit(positive.data(), row, width, s), reference::is_positive(e, z));
        }
      }
      EXPECT_TRUE(panel.guards_intact() && positive.guards_intact());
    }
  }
}

TEST_P(NeuronKernels, GateEqualsTheDefinitionForEverySample) {
  Dice dice;
  for (const int width : kAllWidths) {
    for (int variant = 0; variant < 4; ++variant) {
      const Guarded<float> before = random_panel(width, dice);
      Guarded<float> panel = before;
      const Guarded<std::uint16_t> positive = random_bits(kNeurons, width, dice);
      const Guarded<std::uint16_t> keep = random_bits(kNeurons, width, dice);
      const Gate g{.slope = -0.6f,
                   .positive_bits = (variant & 1) != 0 ? positive.data() : nullptr,
                   .keep_bits = (variant & 2) != 0 ? keep.data() : nullptr,
                   .keep_scale = (variant & 2) != 0 ? 1.0f / 0.7f : 1.0f};
      EXPECT_EQ(g.open(), variant == 0);
      apply_gate({0, kNeurons}, width, panel.data(), g);
      for (std::int64_t row = 0; row < kNeurons; ++row)
        for (int s = 0; s < width; ++s) {
          const double expected = reference::gate(g, row, width, s, before[reference::at(row, width, s)]);
          // Two roundings: the slope, the scale.
          ASSERT_NEAR(panel[reference::at(row, width, s)], expected, 3 * 0x1p-24 * std::abs(expected));
        }
      EXPECT_TRUE(panel.guards_intact());
    }
  }
}

TEST_P(NeuronKernels, TouchOnlyTheirRows) {
  Dice dice;
  for (const int width : kAllWidths) {
    const Guarded<float> before = random_panel(width, dice);
    Guarded<float> a = before, dz = before, sums(kNeurons, 7.0f);
    Guarded<std::uint16_t> bits(kNeurons * bit_words(width), 0x1234), keep(kNeurons * bit_words(width));
    apply_epilogue({4, 9}, width, a.data(),
                   {.slope = 3.0f, .positive_bits = bits.data(), .keep_bits = keep.data()});
    apply_gate({4, 9}, width, dz.data(), {.keep_bits = keep.data()});
    sum_rows({4, 9}, width, before.data(), {}, false, sums.data());
    Guarded<std::uint16_t> mask(kNeurons * bit_words(width), 0x1234);
    dropout_bits({4, 9}, width, {}, 0, nullptr, mask.data());
    for (std::int64_t row = 0; row < kNeurons; ++row) {
      const bool own = row >= 4 && row < 9;
      for (int s = 0; s < width; ++s) {
        const std::size_t i = reference::at(row, width, s);
        ASSERT_EQ(a[i], own ? 0.0f : before[i]);
        ASSERT_EQ(dz[i], own ? 0.0f : before[i]);
      }
      for (int line = 0; line < bit_words(width); ++line) {
        const auto i = static_cast<std::size_t>(row * bit_words(width) + line);
        const int samples = width < 16 ? (1 << width) - 1 : 0xffff;
        ASSERT_EQ(mask[i] & (own ? samples : 0xffff), own ? samples : 0x1234);
        ASSERT_TRUE(own || bits[i] == 0x1234);
      }
      ASSERT_EQ(sums[static_cast<std::size_t>(row)] == 7.0f, !own);
    }
    EXPECT_TRUE(sums.guards_intact() && mask.guards_intact());
  }
}

TEST_P(NeuronKernels, RowSumsLieWithinTheirRoundingErrorsAndFollowTheFixedTreeBitwise) {
  Dice dice;
  for (const int width : kAllWidths) {
    const Guarded<float> panel = random_panel(width, dice);
    Guarded<float> sums(kNeurons, NAN);
    sum_rows({0, kNeurons}, width, panel.data(), {}, false, sums.data());
    EXPECT_TRUE(within_bounds(sums, reference::row_sums(kNeurons, width, panel.data())));
    for (std::size_t row = 0; row < sums.size(); ++row)
      ASSERT_EQ(sums[row],
                reference::sum_in_fixed_tree(panel.data() + row * static_cast<std::size_t>(width), width));
    Guarded<float> added(kNeurons, 2.5f);
    sum_rows({0, kNeurons}, width, panel.data(), {}, true, added.data());
    for (std::size_t row = 0; row < sums.size(); ++row) ASSERT_EQ(added[row], 2.5f + sums[row]);
    EXPECT_TRUE(sums.guards_intact() && added.guards_intact());
  }
}

TEST_P(NeuronKernels, SumsThroughAGateAreThoseOfThePanelThatItMakes) {
  Dice dice;
  for (const int width : kAllWidths) {
    Guarded<float> panel = random_panel(width, dice);
    const auto words = static_cast<std::size_t>(kNeurons * bit_words(width));
    std::vector<std::uint16_t> positive(words), kept(words);
    for (std::size_t i = 0; i < words; ++i) {
      positive[i] = static_cast<std::uint16_t>(40503 * (i + 1));
      kept[i] = static_cast<std::uint16_t>(30011 * (i + 3));
    }
    const Gate gate{
        .slope = 0.3f, .positive_bits = positive.data(), .keep_bits = kept.data(), .keep_scale = 2};
    Guarded<float> sums(kNeurons), expected(kNeurons);
    sum_rows({0, kNeurons}, width, panel.data(), gate, false, sums.data());
    apply_gate({0, kNeurons}, width, panel.data(), gate);
    sum_rows({0, kNeurons}, width, panel.data(), {}, false, expected.data());
    for (std::size_t row = 0; row < sums.size(); ++row) ASSERT_EQ(sums[row], expected[row]) << row;
    EXPECT_TRUE(sums.guards_intact());
  }
}

TEST_P(NeuronKernels, NaNOfOneRowReachesNoOtherRowSum) {
  Dice dice;
  for (const int width : kAllWidths) {
    Guarded<float> panel = random_panel(width, dice), sums(kNeurons);
    panel[reference::at(20, width, 1)] = NAN;
    sum_rows({0, kNeurons}, width, panel.data(), {}, false, sums.data());
    for (std::size_t row = 0; row < sums.size(); ++row) EXPECT_EQ(std::isnan(sums[row]), row == 20);
  }
}

TEST_P(NeuronKernels, TheSignBitPathEqualsTheStoredSumPathBitwise) {
  // The gate decides by stored bits what a pass with stored z would decide by comparison.
  Dice dice;
  for (const int width : kAllWidths) {
    const Guarded<float> z = random_panel(width, dice), error = random_panel(width, dice);
    const Guarded<std::uint16_t> keep = random_bits(kNeurons, width, dice);
    Guarded<float> a = z, dz = error;
    Guarded<std::uint16_t> positive(kNeurons * bit_words(width));
    const float slope = -0.6f, scale = 1.0f / 0.7f;
    apply_epilogue(
        {0, kNeurons}, width, a.data(),
        {.slope = slope, .positive_bits = positive.data(), .keep_bits = keep.data(), .keep_scale = scale});
    apply_gate(
        {0, kNeurons}, width, dz.data(),
        {.slope = slope, .positive_bits = positive.data(), .keep_bits = keep.data(), .keep_scale = scale});
    for (std::int64_t row = 0; row < kNeurons; ++row)
      for (int s = 0; s < width; ++s) {
        const std::size_t i = reference::at(row, width, s);
        const bool kept = reference::bit(keep.data(), row, width, s);
        ASSERT_EQ(a[i], kept ? (z[i] >= 0 ? z[i] : slope * z[i]) * scale : 0.0f);
        const float through = error[i] * scale;  // dropout first, as in the chain rule
        ASSERT_EQ(dz[i], kept ? (z[i] >= 0 ? through : slope * through) : 0.0f);
      }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, NeuronKernels, ::testing::ValuesIn(available_targets()), target_name);

}  // namespace
}  // namespace tulle::kernels
