#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "tulle/base/parallel.h"
#include "tulle/evolve/test_layer.h"

namespace tulle {

Grow grow_gradient, grow_gse_uniform, grow_gse_bound, grow_gse_estimate, grow_momentum;
Gather gather_momentum;

namespace {

class GrowRules : public ::testing::Test {
 protected:
  void TearDown() override { set_thread_count(0); }
};

// The dense gradient in double precision, by cell.
std::vector<double> dense_gradient(const GrowInput& input) {
  const std::int32_t rows = input.taken.rows(), cols = input.taken.cols();
  std::vector<double> all(static_cast<std::size_t>(rows) * static_cast<std::size_t>(cols), 0.0);
  for (std::int32_t t = 0; t < rows; ++t)
    for (std::int32_t s = 0; s < cols; ++s)
      for (std::int32_t b = 0; b < input.inputs.batch; ++b)
        all[static_cast<std::size_t>(t) * static_cast<std::size_t>(cols) + static_cast<std::size_t>(s)] +=
            static_cast<double>(input.errors.at(b, t)) * input.inputs.at(b, s);
  return all;
}

// Small whole numbers: sums are exact in any order, and ties are common.
void make_whole(Panels<float> panels) {
  for (std::int32_t f = 0; f < panels.features; ++f)
    for (std::int32_t b = 0; b < panels.batch; ++b) panels.at(b, f) = std::round(2.0f * panels.at(b, f));
}

TEST_F(GrowRules, GradientEqualsTheTopOfTheDenseGradientWithTheSameTies) {
  Dice dice;
  for (const auto& [rows, cols] : {std::pair{7, 9}, {130, 40}, {70, 1100}, {1, 2500}}) {
    const auto cells = static_cast<std::uint64_t>(rows) * static_cast<std::uint64_t>(cols);
    const Topology taken =
        random_topology(rows, cols, static_cast<std::int64_t>(cells / 3), {.seed = dice.below(~0ull)});
    const TestSignals signals(taken, dice.below(1000));
    make_whole(signals.inputs);
    make_whole(signals.errors);
    for (const std::int64_t count : {0, 1, 20, static_cast<int>(cells / 2), static_cast<int>(cells)}) {
      const GrowInput input = signals.grow_input(taken, count, taken.nnz());
      std::vector<std::pair<double, std::uint64_t>> oracle;  // by falling gradient, then rising key
      const std::vector<double> gradient = dense_gradient(input);
      std::vector<std::uint64_t> keys = taken.keys();
      for (std::uint64_t key = 0; key < cells; ++key)
        if (!std::binary_search(keys.begin(), keys.end(), key))
          oracle.emplace_back(-std::abs(gradient[key]), key);
      std::sort(oracle.begin(), oracle.end());
      std::vector<std::uint64_t> wanted;
      for (std::size_t i = 0; i < std::min(oracle.size(), static_cast<std::size_t>(count)); ++i)
        wanted.push_back(oracle[i].second);
      std::sort(wanted.begin(), wanted.end());
      for (const int threads : {1, 2, 5}) {
        set_thread_count(threads);
        ASSERT_EQ(grow_gradient(input), wanted) << rows << " x " << cols << ", " << count << ", " << threads;
      }
    }
  }
}

TEST_F(GrowRules, GuidedWithAllCellsAsCandidatesEqualsGradient) {
  Dice dice;
  for (const auto rule : {grow_gse_uniform, grow_gse_bound, grow_gse_estimate}) {
    const Topology taken = random_topology(30, 50, 300, {.seed = dice.below(~0ull)});
    const TestSignals signals(taken);
    GrowInput input = signals.grow_input(taken, 40, 340);
    const std::vector<std::uint64_t> gradient = grow_gradient(input);
    input.candidates = 100.0;
    EXPECT_EQ(rule(input), gradient);
    input.candidates = 1.0;
    EXPECT_NE(rule(input), gradient);
  }
}

TEST_F(GrowRules, GuidedGrowsTheLargestGradientsOfWhatItDrew) {
  // With 10 x 10 neurons at work and all others silent, candidates lie among those 100 cells alone.
  const Topology taken = Topology::from_keys(200, 200, std::vector<std::uint64_t>{5});
  const TestSignals signals(taken);
  for (const Panels<float>& panels : {signals.inputs, signals.errors})
    for (std::int32_t f = 10; f < panels.features; ++f)
      for (std::int32_t b = 0; b < panels.batch; ++b) panels.at(b, f) = 0.0f;
  for (const auto rule : {grow_gse_bound, grow_gse_estimate}) {
    GrowInput input = signals.grow_input(taken, 30, 2000);
    input.candidates = 2.0;  // 4,000 draws of 100 cells: about all of them
    for (const std::uint64_t key : rule(input)) {
      EXPECT_LT(key / 200, 10u);
      EXPECT_LT(key % 200, 10u);
    }
  }
}

TEST_F(GrowRules, GuidedFindsEnoughEvenWhereNothingIsAtWork) {
  const Topology taken = random_topology(50, 60, 100, {.seed = 3});
  const TestSignals signals(taken);
  for (const Panels<float>& panels : {signals.inputs, signals.errors})
    std::fill_n(panels.data, panels.count() * panels.panel_size(), 0.0f);
  for (const auto rule : {grow_gse_uniform, grow_gse_bound, grow_gse_estimate}) {
    for (const std::int64_t count :
         {std::int64_t{1}, std::int64_t{99}, std::int64_t{2900}, std::int64_t{5000}}) {
      const std::vector<std::uint64_t> grown = rule(signals.grow_input(taken, count, 100));
      EXPECT_EQ(grown.size(), static_cast<std::size_t>(std::min<std::int64_t>(count, 2900)));
      EXPECT_TRUE(std::adjacent_find(grown.begin(), grown.end(), std::greater_equal<>()) == grown.end());
    }
  }
}

TEST(CellGradients, SumOverTheSamplesOfPanelsOfAnyWidth) {
  const Topology none = Topology::from_keys(4, 5, {});
  const std::vector<std::uint64_t> cells{0, 7, 19};
  const std::vector<float> expected{12.0f, 32.0f, 80.0f};
  for (const int width : {2, 4, 8, 16}) {
    PanelBuffer inputs_memory, errors_memory;
    const Panels<float> inputs = inputs_memory.view(5, 2, width), errors = errors_memory.view(4, 2, width);
    for (std::int32_t sample = 0; sample < 2; ++sample) {
      for (std::int32_t s = 0; s < 5; ++s) inputs.at(sample, s) = static_cast<float>(s + 1 + 10 * sample);
      for (std::int32_t t = 0; t < 4; ++t) errors.at(sample, t) = static_cast<float>(t + 1);
    }
    EXPECT_EQ(cell_gradients({.taken = none, .inputs = inputs, .errors = errors}, cells), expected) << width;
  }
}

TEST_F(GrowRules, MomentumGrowsTheLargestSumsOfGradientsOverTheStepsGathered) {
  constexpr double kMomentum = 0.5;
  const Topology before = random_topology(13, 17, 90, {.seed = 5});
  std::vector<std::uint8_t> marks(90, 0);
  for (std::size_t k = 0; k < 90; k += 4) marks[k] = 1;
  const Topology taken = without(before, marks).topology;  // what is dropped may grow again
  CellScores scores;
  std::vector<double> sums(13 * 17, 0.0);
  for (const std::uint64_t step : {1u, 2u, 3u}) {
    const TestSignals signals(before, step);
    make_whole(signals.inputs);
    make_whole(signals.errors);
    GrowInput input = signals.grow_input(before, 0, 90);
    input.candidates = 100.0;
    gather_momentum(input, kMomentum, scores);
    const std::vector<double> gradient = dense_gradient(input);
    for (std::size_t cell = 0; cell < sums.size(); ++cell)
      sums[cell] = kMomentum * sums[cell] + gradient[cell];
  }
  std::vector<std::pair<double, std::uint64_t>> oracle;  // by falling sum, then rising key
  const std::vector<std::uint64_t> kept = taken.keys();
  for (std::uint64_t cell = 0; cell < sums.size(); ++cell)
    if (!std::binary_search(kept.begin(), kept.end(), cell)) oracle.emplace_back(-std::abs(sums[cell]), cell);
  std::sort(oracle.begin(), oracle.end());
  std::vector<std::uint64_t> wanted;
  for (std::size_t i = 0; i < 23; ++i) wanted.push_back(oracle[i].second);
  std::sort(wanted.begin(), wanted.end());
  EXPECT_EQ(grow_momentum({.taken = taken, .count = 23, .connections = 90, .gathered = &scores}), wanted);
}

TEST_F(GrowRules, MomentumDrawsItsCandidatesInTheFirstStepAlone) {
  const Topology taken = random_topology(40, 50, 200, {.seed = 6});
  CellScores scores;
  std::vector<std::uint64_t> first;
  for (const std::uint64_t step : {1u, 2u, 3u}) {
    const TestSignals signals(taken, step);
    GrowInput input = signals.grow_input(taken, 0, 200);
    input.random.event = static_cast<std::uint32_t>(step);
    if (step == 1) first = proposed_cells(input);
    gather_momentum(input, 0.9, scores);
    EXPECT_EQ(scores.cells, first) << "step " << step;
  }
  EXPECT_LE(first.size(), 200u);
  EXPECT_GT(first.size(), 150u);
  // What they cannot give grows elsewhere.
  const auto grown = grow_momentum({.taken = taken, .count = 300, .connections = 200, .gathered = &scores});
  EXPECT_EQ(grown.size(), 300u);
  std::vector<std::uint64_t> free = first;
  strike_out_existing(taken, free);
  EXPECT_TRUE(std::includes(grown.begin(), grown.end(), free.begin(), free.end()));
}

TEST_F(GrowRules, MomentumOfTheLastStepAloneIsThatOfItsGradientsAtThoseCandidates) {
  const Topology taken = random_topology(40, 50, 200, {.seed = 6});
  const TestSignals signals(taken);
  GrowInput input = signals.grow_input(taken, 60, 200);
  const std::vector<std::uint64_t> alone = grow_momentum(input);
  EXPECT_EQ(alone, grow_gse_estimate(input));
  CellScores scores;
  gather_momentum(input, 0.9, scores);
  input.gathered = &scores;
  EXPECT_EQ(grow_momentum(input), alone);
}

TEST_F(GrowRules, RandomGrowsByTheLawOfItsWindows) {
  const Topology taken = random_topology(200, 300, 1000, {.seed = 6});
  const WindowLaw law{.width = 30, .share = 0.9};
  const Random random{.seed = 1, .stream = Stream::kGrow};
  const auto grow = find_name(grow_rules(), "test", "random").grow;
  EXPECT_EQ(grow({.taken = taken, .count = 400, .window = law, .random = random}),
            windowed_absent_cells(taken, 400, law, random));
  EXPECT_EQ(grow({.taken = taken, .count = 400, .random = random}), random_absent_cells(taken, 400, random));
}

TEST_F(GrowRules, EveryRuleAnswersTheSameForAnyNumberOfThreads) {
  const Topology taken = random_topology(150, 170, 3000, {.seed = 4});
  const TestSignals signals(taken);
  for (const GrowInfo& rule : grow_rules()) {
    if (rule.grow == nullptr) continue;
    GrowInput input = signals.grow_input(taken, 500, 3500);
    input.candidates = 2.0;
    set_thread_count(1);
    const std::vector<std::uint64_t> one = rule.grow(input);
    for (const int threads : {2, 3, 8}) {
      set_thread_count(threads);
      EXPECT_EQ(rule.grow(input), one) << rule.name;
    }
  }
}

}  // namespace
}  // namespace tulle
