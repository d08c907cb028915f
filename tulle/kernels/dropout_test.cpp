#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "tulle/kernels/neuron.h"
#include "tulle/kernels/test_problem.h"

namespace tulle::kernels {
namespace {

constexpr std::uint32_t kDropThreshold = 19661;  // drops 30 %

// kept[row][position] for `positions` samples from `first` on, drawn in panels of `width`.
std::vector<std::vector<bool>> mask(std::int64_t rows, std::int64_t first, int positions, int width,
                                    DropoutPlace place) {
  std::vector<std::vector<bool>> kept(static_cast<std::size_t>(rows));
  for (int done = 0; done < positions; done += width) {
    Guarded<std::uint16_t> bits = Guarded<std::uint16_t>(rows * bit_words(width), 0x5555);
    place.first_position = first + done;
    dropout_bits({0, rows}, width, place, kDropThreshold, nullptr, bits.data());
    EXPECT_TRUE(bits.guards_intact());
    for (std::int64_t row = 0; row < rows; ++row)
      for (int s = 0; s < width; ++s)
        kept[static_cast<std::size_t>(row)].push_back(reference::bit(bits.data(), row, width, s));
  }
  return kept;
}

class Dropout : public EveryTarget {};

TEST_P(Dropout, EveryBitEqualsTheDrawOfItsPlace) {
  Dice dice;
  for (const int width : kAllWidths) {
    for (const std::uint32_t threshold : {0u, 1u, kDropThreshold, 32768u, 32769u, 65535u, 65536u}) {
      const DropoutPlace place{.seed = dice.below(~0ull),
                               .layer = static_cast<std::uint32_t>(dice.below(1u << 24)),
                               .step = static_cast<std::uint32_t>(dice.below(1ull << 32)),
                               .worker = static_cast<std::uint32_t>(dice.below(256)),
                               .first_position = static_cast<std::int64_t>(dice.below(10'000)) * 16};
      const std::int64_t rows = 9;
      std::vector<std::uint32_t> ids;
      for (std::int64_t row = 0; row < rows; ++row)
        ids.push_back(static_cast<std::uint32_t>(dice.below(1ull << 32)));
      for (const bool with_ids : {false, true}) {
        Guarded<std::uint16_t> bits(rows * bit_words(width), 0x5555);
        dropout_bits({0, rows}, width, place, threshold, with_ids ? ids.data() : nullptr, bits.data());
        for (std::int64_t row = 0; row < rows; ++row) {
          const std::uint32_t id =
              with_ids ? ids[static_cast<std::size_t>(row)] : static_cast<std::uint32_t>(row);
          for (int s = 0; s < width; ++s)
            ASSERT_EQ(reference::bit(bits.data(), row, width, s), reference::keeps(place, threshold, id, s))
                << "width " << width << ", threshold " << threshold << ", row " << row << ", sample " << s;
        }
        EXPECT_TRUE(bits.guards_intact());
      }
    }
  }
}

TEST_P(Dropout, KeepsTheAskedShareWithinFourSigma) {
  for (const double p : {0.1, 0.3, 0.5, 0.9}) {
    const auto threshold = static_cast<std::uint32_t>(std::lround(p * 65536));
    const std::int64_t rows = 2000;
    Guarded<std::uint16_t> bits(rows * 8);
    dropout_bits({0, rows}, 128, {.seed = Dice::seed(), .layer = 1, .step = 3}, threshold, nullptr,
                 bits.data());
    double kept = 0;
    for (const std::uint16_t word : bits.all()) kept += std::popcount(word);
    const double draws = static_cast<double>(rows) * 128, share = 1.0 - threshold / 65536.0;
    EXPECT_NEAR(kept, draws * share, 4 * std::sqrt(draws * share * (1 - share))) << "p = " << p;
  }
}

TEST_P(Dropout, MaskIsTheSameForEveryPanelWidthAndMicroBatch) {
  const DropoutPlace place{.seed = Dice::seed(), .layer = 2, .step = 5, .worker = 1};
  const auto whole = mask(7, 0, 512, 128, place);
  for (const int width : kAllWidths) EXPECT_EQ(mask(7, 0, 512, width, place), whole) << "width " << width;
  for (const int width : kAllWidths) {
    for (const int first : {16, 48, 112, 128, 240}) {  // also panels that straddle groups of 128
      const auto part = mask(7, first, 128, width, place);
      for (std::size_t row = 0; row < 7; ++row)
        EXPECT_EQ(part[row], std::vector<bool>(whole[row].begin() + first, whole[row].begin() + first + 128))
            << "width " << width << ", from " << first;
    }
  }
}

TEST_P(Dropout, MaskIsTheSameForEveryRowSplitAndFollowsTheNeuronIds) {
  const DropoutPlace place{.seed = Dice::seed(), .layer = 2, .step = 5, .first_position = 32};
  const std::int64_t rows = 21;
  Guarded<std::uint16_t> whole(rows * 4), parts(rows * 4);
  dropout_bits({0, rows}, 64, place, kDropThreshold, nullptr, whole.data());
  for (const Range part : {Range{0, 1}, Range{1, 8}, Range{8, 21}})
    dropout_bits(part, 64, place, kDropThreshold, nullptr, parts.data());
  EXPECT_TRUE(parts.same_bits(whole));
  // After pruning, neuron 20 is row 0 and draws as before.
  const std::uint32_t id = 20;
  Guarded<std::uint16_t> one(4);
  dropout_bits({0, 1}, 64, place, kDropThreshold, &id, one.data());
  for (std::size_t line = 0; line < 4; ++line) EXPECT_EQ(one[line], whole[20 * 4 + line]);
}

TEST_P(Dropout, EverythingOfAPlaceMatters) {
  const DropoutPlace place{.seed = 1, .layer = 2, .step = 3, .worker = 4};
  const auto first = mask(4, 0, 128, 128, place);
  EXPECT_NE(mask(4, 0, 128, 128, {.seed = 2, .layer = 2, .step = 3, .worker = 4}), first);
  EXPECT_NE(mask(4, 0, 128, 128, {.seed = 1, .layer = 1, .step = 3, .worker = 4}), first);
  EXPECT_NE(mask(4, 0, 128, 128, {.seed = 1, .layer = 2, .step = 4, .worker = 4}), first);
  EXPECT_NE(mask(4, 0, 128, 128, {.seed = 1, .layer = 2, .step = 3, .worker = 5}), first);
  EXPECT_NE(mask(4, 128, 128, 128, place), first);
  EXPECT_NE(first[0], first[1]);
}

INSTANTIATE_TEST_SUITE_P(Targets, Dropout, ::testing::ValuesIn(available_targets()), target_name);

}  // namespace
}  // namespace tulle::kernels
