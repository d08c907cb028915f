#include "tulle/sparse/weight_init.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "tulle/base/name_table.h"
#include "tulle/sparse/sampling.h"
#include "tulle/sparse/test_statistics.h"

namespace tulle {
namespace {

const WeightInitInfo& law(std::string_view name) { return find_name(weight_inits(), "init", name); }

Random values_key() { return {.seed = trial_seed(0), .stream = Stream::kValue, .layer = 2}; }

constexpr std::int32_t kTargets = 4000, kSources = 50;

// Targets with 1 to 40 sources, 82,000 connections in all: enough to see a law that is 2 % too wide or
// narrow.
Topology uneven_topology() {
  RawVector<std::int64_t> row_ptr{0};
  RawVector<std::int32_t> columns;
  for (std::int32_t r = 0; r < kTargets; ++r) {
    for (std::int32_t c = 0; c <= r % 40; ++c) columns.push_back(c);
    row_ptr.push_back(static_cast<std::int64_t>(columns.size()));
  }
  return Topology(kTargets, kSources, std::move(row_ptr), std::move(columns));
}

// The values divided by the half-width that `limit(in-degree of the target)` asks for: U(-1, 1) if it is
// right.
template <class Limit>
void expect_uniform_law(const WeightInitInfo& info, const InitContext& context, Limit limit) {
  const auto values = initial_weights(info, context, values_key());
  ASSERT_EQ(static_cast<std::int64_t>(values.size()), context.topology.nnz());
  std::vector<float> scaled;
  for (std::int32_t target = 0; target < context.topology.rows(); ++target) {
    const auto degree = static_cast<double>(context.topology.row(target).size());
    for (double i = 0; i < degree; ++i) {
      const float value = values[scaled.size()];
      ASSERT_LE(std::abs(value), static_cast<float>(limit(degree)));
      scaled.push_back(static_cast<float>(value / limit(degree)));
    }
  }
  EXPECT_TRUE(follows_law(scaled, [](double x) { return (x + 1) / 2; })) << info.name;
}

TEST(HeUniform, HasTheBoundOfTheDenseFanIn) {
  const Topology t = uneven_topology();
  expect_uniform_law(law("he-uniform"), {.topology = t}, [](double) { return std::sqrt(6.0 / kSources); });
}

TEST(HeUniform, WithSparseFanHasTheBoundOfEachTargetsDegree) {
  const Topology t = uneven_topology();
  expect_uniform_law(law("he-uniform"), {.topology = t, .sparse_fan = true},
                     [](double degree) { return std::sqrt(6.0 / degree); });
}

TEST(Xavier, HasTheBoundOfBothSidesDenseOrOfTheMeanDegrees) {
  const Topology t = uneven_topology();
  expect_uniform_law(law("xavier"), {.topology = t},
                     [](double) { return std::sqrt(6.0 / (kSources + kTargets)); });
  const double in = static_cast<double>(t.nnz()) / kTargets, out = static_cast<double>(t.nnz()) / kSources;
  expect_uniform_law(law("xavier"), {.topology = t, .sparse_fan = true},
                     [&](double) { return std::sqrt(6.0 / (in + out)); });
}

TEST(Normal, HasStandardDeviationATenthWhateverTheSize) {
  for (const auto& [rows, cols] : {std::pair{1000, 500}, {100, 4000}}) {
    const Topology t = random_topology(rows, cols, 200'000, {.seed = trial_seed(0)});
    for (const bool sparse_fan : {false, true})
      EXPECT_TRUE(
          follows_law(initial_weights(law("normal"), {.topology = t, .sparse_fan = sparse_fan}, values_key()),
                      [](double x) { return 0.5 * std::erfc(-x / 0.1 / std::sqrt(2.0)); }));
  }
}

TEST(Zero, IsZero) {
  const Topology t = uneven_topology();
  for (const float value : initial_weights(law("zero"), {.topology = t}, values_key()))
    EXPECT_EQ(value, 0.0f);
}

TEST(Var, HasTheBoundOfDegreeAndSecondMoment) {
  const Topology t = uneven_topology();
  expect_uniform_law(law("var"), {.topology = t, .sparse_fan = true, .source_second_moment = 0.5},
                     [](double degree) { return std::sqrt(3.0 / (0.5 * degree)); });
}

struct Source {
  const char* name;
  double slope, drop, second_moment;
};

class VarKeepsTheVariance : public ::testing::TestWithParam<Source> {};

TEST_P(VarKeepsTheVariance, OfPreActivationsAtOne) {
  SCOPED_TRACE(seed_note());
  const auto& [name, slope, drop, second_moment] = GetParam();
  const Topology t(2, 7, {0, 1, 6}, {3, 0, 1, 2, 4, 6});  // in-degrees 1 and 5
  const InitContext context{.topology = t, .sparse_fan = true, .source_second_moment = second_moment};
  std::mt19937_64 random(test_seed());
  std::normal_distribution<double> standard;
  std::bernoulli_distribution kept(1 - drop);
  constexpr int kTrials = 20'000;
  for (std::int32_t target = 0; target < 2; ++target) {
    double sum = 0, squares = 0;
    for (int trial = 0; trial < kTrials; ++trial) {
      const Random key{.seed = trial_seed(trial), .stream = Stream::kValue};
      double z = 0;
      for (std::uint64_t k = target == 0 ? 0 : 1; k < (target == 0 ? 1u : 6u); ++k) {
        const double x = standard(random), h = x > 0 ? x : slope * x;
        z += double{draw_weight(law("var"), law("var").spread(context, target), key, k)} *
             (kept(random) ? h / (1 - drop) : 0);
      }
      sum += z * z;
      squares += z * z * z * z;
    }
    const double mean = sum / kTrials, error = std::sqrt((squares / kTrials - mean * mean) / kTrials);
    EXPECT_NEAR(mean, 1.0, 5 * error) << "in-degree " << t.row(target).size();
  }
}

INSTANTIATE_TEST_SUITE_P(Sources, VarKeepsTheVariance,
                         ::testing::Values(Source{"Linear", 1, 0, 1}, Source{"Relu", 0, 0, 0.5},
                                           Source{"AllRelu", -0.6, 0, (1 + 0.36) / 2},
                                           Source{"ReluWithDropout", 0, 0.3, 0.5 / 0.7}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(SparseFan, OfANeuronWithoutConnectionsIsFinite) {
  const Topology t(2, 3, {0, 0, 1}, {1});
  for (const WeightInitInfo& info : weight_inits())
    EXPECT_TRUE(std::isfinite(info.spread({.topology = t, .sparse_fan = true}, 0))) << info.name;
}

class EveryWeightInit : public ::testing::TestWithParam<WeightInitInfo> {};

TEST_P(EveryWeightInit, DrawsEachWeightByItsPositionAlone) {
  const Topology t = uneven_topology();
  for (const bool sparse_fan : {false, true}) {
    const InitContext context{.topology = t, .sparse_fan = sparse_fan};
    const auto values = initial_weights(GetParam(), context, values_key());
    ASSERT_EQ(static_cast<std::int64_t>(values.size()), t.nnz());
    for (std::int32_t target = kTargets - 1; target >= 0; --target)  // any order
      for (auto k = t.row_ptr()[static_cast<std::size_t>(target)];
           k < t.row_ptr()[static_cast<std::size_t>(target) + 1]; ++k)
        ASSERT_EQ(values[static_cast<std::size_t>(k)],
                  draw_weight(GetParam(), GetParam().spread(context, target), values_key(),
                              static_cast<std::uint64_t>(k)));
  }
}

TEST_P(EveryWeightInit, OfAnotherSeedOrLayerIsAnother) {
  if (GetParam().name == "zero") return;
  const Topology t = uneven_topology();
  const auto values = initial_weights(GetParam(), {.topology = t}, {.seed = 1, .stream = Stream::kValue});
  EXPECT_NE(initial_weights(GetParam(), {.topology = t}, {.seed = 2, .stream = Stream::kValue}), values);
  EXPECT_NE(initial_weights(GetParam(), {.topology = t}, {.seed = 1, .stream = Stream::kValue, .layer = 1}),
            values);
}

INSTANTIATE_TEST_SUITE_P(WeightInits, EveryWeightInit,
                         ::testing::ValuesIn(weight_inits().begin(), weight_inits().end()),
                         [](const auto& info) {
                           std::string name(info.param.name);
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace tulle
