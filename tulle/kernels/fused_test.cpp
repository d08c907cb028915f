#include "tulle/kernels/fused.h"

#include <algorithm>

#include "tulle/base/half.h"
#include "tulle/kernels/test_problem.h"

namespace tulle::kernels {
namespace {

class Fused : public EveryTarget {};

TEST_P(Fused, TakesTheConnectionsOfItsSourcesInTheirOrder) {
  Dice dice;
  for (const std::int64_t count : {0, 1, 15, 16, 17, 100, 1000})
    for (const auto& [first, sources] : {std::pair{0, 50}, {20, 1}, {10, 0}, {30, 20}, {0, 7}}) {
      std::vector<std::int32_t> columns, rows, own_columns, own_rows, own_places;
      for (std::int32_t k = 0; k < count; ++k) {
        columns.push_back(static_cast<std::int32_t>(dice.below(50)));
        rows.push_back(k / 3);
        if (columns.back() < first || columns.back() >= first + sources) continue;
        own_columns.push_back(columns.back());
        own_rows.push_back(rows.back());
        own_places.push_back(k);
      }
      const auto room = static_cast<std::size_t>(count) + 16;
      std::vector<std::int32_t> found_columns(room), found_rows(room), found_places(room);
      const std::int64_t own = select_sources(columns.data(), rows.data(), count, first, sources,
                                              found_columns.data(), found_rows.data(), found_places.data());
      for (auto* found : {&found_columns, &found_rows, &found_places})
        found->resize(static_cast<std::size_t>(own));
      EXPECT_EQ(found_columns, own_columns);
      EXPECT_EQ(found_rows, own_rows);
      EXPECT_EQ(found_places, own_places);
    }
}

// The first `width` samples of every row of 16.
Guarded<float> narrow_lines(const Guarded<float>& lines, int width) {
  const auto rows = static_cast<std::int64_t>(lines.size()) / 16;
  Guarded<float> panel(rows * width);
  for (std::int64_t row = 0; row < rows; ++row)
    for (int s = 0; s < width; ++s) panel[reference::at(row, width, s)] = lines[reference::at(row, 16, s)];
  return panel;
}

TEST_P(Fused, APanelNarrowerThanALineHasTheBitsOfOneFilledUpToIt) {
  Dice dice;
  constexpr std::int64_t kCount = 100, kNeurons = 30;
  std::vector<std::int32_t> rows, columns;
  std::vector<float> weights;
  for (std::int64_t k = 0; k < kCount + Links::kAhead; ++k) {
    rows.push_back(static_cast<std::int32_t>(k * kNeurons / (kCount + Links::kAhead)));
    columns.push_back(static_cast<std::int32_t>(dice.below(kNeurons)));
    weights.push_back(dice.value());
  }
  const Links links{kCount, rows.data(), columns.data(), weights.data()};
  for (const int width : {2, 4, 8})
    for (const bool add : {false, true}) {
      Guarded<float> errors(kNeurons * 16), x(kNeurons * 16), dx(kNeurons * 16), dw(kCount, 0.5f);
      for (std::int64_t row = 0; row < kNeurons; ++row)
        for (int s = 0; s < 16; ++s) {
          x[reference::at(row, 16, s)] = dice.value();  // also of samples that are not there
          errors[reference::at(row, 16, s)] = s < width ? dice.value() : 0.0f;
        }
      const Guarded<std::uint16_t> positive = random_bits(kNeurons, 16, dice),
                                   keep = random_bits(kNeurons, 16, dice);
      const Gate gate{.slope = -0.6f,
                      .positive_bits = positive.data(),
                      .keep_bits = keep.data(),
                      .keep_scale = 1.0f / 0.7f};
      Guarded<float> narrow_dx = narrow_lines(dx, width), narrow_dw = dw;
      fused_backward(links, width, narrow_lines(errors, width).data(), gate, narrow_lines(x, width).data(),
                     narrow_dx.data(), add, narrow_dw.data());
      fused_backward(links, 16, errors.data(), gate, x.data(), dx.data(), add, dw.data());
      EXPECT_TRUE(narrow_dx.same_bits(narrow_lines(dx, width))) << "width " << width;
      EXPECT_TRUE(narrow_dw.same_bits(dw)) << "width " << width;
      EXPECT_TRUE(narrow_dx.guards_intact() && narrow_dw.guards_intact());
    }
}

TEST_P(Fused, ReadsBfloat16WithTheBitsOfTheWidenedInputs) {
  Dice dice;
  constexpr std::int64_t kCount = 100, kNeurons = 30;
  std::vector<std::int32_t> rows, columns;
  std::vector<float> weights;
  for (std::int64_t k = 0; k < kCount + Links::kAhead; ++k) {
    rows.push_back(static_cast<std::int32_t>(k * kNeurons / (kCount + Links::kAhead)));
    columns.push_back(static_cast<std::int32_t>(dice.below(kNeurons)));
    weights.push_back(dice.value());
  }
  const Links links{kCount, rows.data(), columns.data(), weights.data()};
  for (const int width : kAllWidths)
    for (const bool with_dx : {false, true}) {
      Guarded<float> errors(kNeurons * width), x(kNeurons * width), dx(kNeurons * width), dw(kCount);
      Guarded<std::uint16_t> narrow_x(kNeurons * width);
      for (float& error : errors.all()) error = dice.value();
      for (std::size_t i = 0; i < x.size(); ++i)
        x[i] = bf16_to_float(narrow_x[i] = float_to_bf16(dice.value()));
      Guarded<float> expected_dx = dx, expected_dw = dw;
      fused_backward(links, width, errors.data(), {}, x.data(), with_dx ? expected_dx.data() : nullptr, false,
                     expected_dw.data());
      fused_backward(links, width, errors.data(), {}, narrow_x.data(), with_dx ? dx.data() : nullptr, false,
                     dw.data());
      EXPECT_TRUE(dx.same_bits(expected_dx) && dw.same_bits(expected_dw)) << "width " << width;
      EXPECT_TRUE(dx.guards_intact() && dw.guards_intact());
    }
}

INSTANTIATE_TEST_SUITE_P(Targets, Fused, ::testing::ValuesIn(available_targets()));

}  // namespace
}  // namespace tulle::kernels
