// The stronger solver for several outputs.
#include <gtest/gtest.h>

#include <limits>

#include "tulle/base/allocations_testing.h"
#include "tulle/recover/recover_testing.h"

namespace tulle::testing {
namespace {

// Data of a net with several outputs, each layer with half the nonzeros.
struct PlantedOutputs {
  std::int32_t outputs;
  SparseNet net;
  Samples x;
  std::vector<double> y;

  PlantedOutputs(std::int64_t n, std::int32_t d, std::int32_t m, std::int32_t k, std::int64_t s,
                 std::uint64_t seed)
      : outputs(k),
        net{.weights = planted_weights(m, d, s / 2, false, seed),
            .output = planted_weights(k, m, s / 2, false, seed, 1)},
        x(planted_samples(n, d, seed, 0)),
        y(net_outputs(x, net)) {}
  RecoverProblem problem() const { return {.x = x, .y = y, .outputs = outputs}; }
  double share_missed(const Recovery& found) const {
    double squares = 0.0, missed = 0.0;
    const std::vector<double> f = net_outputs(x, found.net);
    for (std::size_t i = 0; i < y.size(); ++i) {
      squares += y[i] * y[i];
      missed += (f[i] - y[i]) * (f[i] - y[i]);
    }
    return missed / squares;
  }
};

TEST(StrongOutputs, FindPlantedNetsAndNoMoreNonzerosThanThose) {
  for (const std::uint64_t seed : {1, 2, 3}) {
    const PlantedOutputs p(1500, 30, 10, 5, 40, seed);
    const Recovery found =
        recover("strong", p.problem(), {.hidden_width = 10, .nnz = 40, .starts = 8, .seed = seed});
    EXPECT_LE(found.net.nonzeros(), 40);
    EXPECT_LE(p.share_missed(found), 1e-9) << seed;
  }
}

TEST(StrongOutputs, FindTheOnlyNeuronOfManyThatIsConnectedOnBothSides) {
  const Samples x = planted_samples(1000, 40, 1, 0);
  const SparseNet net{.weights = SparseWeights(50, 40, {3 * 40 + 7, 9 * 40 + 1}, {1.5, 1.0}),
                      .output = SparseWeights(10, 50, {6 * 50 + 3, 8 * 50 + 20}, {-2.0, 1.0})};
  const std::vector<double> y = net_outputs(x, net);
  const Recovery found =
      recover("strong", {.x = x, .y = y, .outputs = 10}, {.hidden_width = 50, .nnz = 2, .starts = 1});
  ASSERT_EQ(found.net.weights.nonzeros(), 1);
  ASSERT_EQ(found.net.output.nonzeros(), 1);
  EXPECT_EQ(found.net.weights.feature()[0], 7);
  EXPECT_EQ(found.net.output.blocks()[0].neuron, 6);
  EXPECT_NEAR(found.net.weights.values()[0] * found.net.output.values()[0], -3.0, 1e-6);
}

TEST(StrongOutputs, AreNeverWorseWithMoreStarts) {
  const PlantedOutputs p(600, 20, 12, 4, 60, 4);
  double before = std::numeric_limits<double>::infinity();
  for (const std::int64_t starts : {1, 3, 5, 9}) {
    const Recovery found =
        recover("strong", p.problem(),
                {.hidden_width = 12, .nnz = 40, .steps = 10, .starts = starts, .tolerance = 0.0, .seed = 2});
    EXPECT_EQ(found.starts, starts);
    EXPECT_LE(found.loss, before);
    before = found.loss;
  }
}

TEST(StrongOutputs, StopAtTheToleranceAndAfterTheTimeLimit) {
  const PlantedOutputs p(600, 20, 12, 4, 60, 4);
  const auto starts_of = [&](double tolerance, double limit) {
    return recover("strong", p.problem(),
                   {.hidden_width = 12,
                    .nnz = 40,
                    .steps = 5,
                    .starts = 4,
                    .tolerance = tolerance,
                    .time_limit = limit})
        .starts;
  };
  EXPECT_EQ(starts_of(0.0, 0.0), 4);
  EXPECT_EQ(starts_of(0.9, 0.0), 1);
  EXPECT_EQ(starts_of(0.0, 1e-9), 1);
}

TEST(StrongOutputs, AreTheZeroNetWhereNothingElseCanBe) {
  const PlantedOutputs p(300, 10, 6, 3, 20, 1);
  const Recovery one = recover("strong", p.problem(), {.hidden_width = 6, .nnz = 1, .steps = 5, .starts = 1});
  EXPECT_EQ(one.net.nonzeros(), 0);
  EXPECT_LT(one.loss, std::numeric_limits<double>::infinity());
  EXPECT_EQ(p.share_missed(one), 1.0);
  const std::vector<double> zeros(p.y.size(), 0.0);
  const Recovery none =
      recover("strong", {.x = p.x, .y = zeros, .outputs = 3}, {.hidden_width = 6, .nnz = 9, .starts = 1});
  EXPECT_EQ(none.net.nonzeros(), 0);
  EXPECT_EQ(none.loss, 0.0);
}

TEST(StrongOutputs, GiveTheSameBitsForAnyThreads) {
  const PlantedOutputs p(1300, 20, 12, 4, 60, 4);
  const auto run = [&] {
    const Recovery found = recover(
        "strong", p.problem(), {.hidden_width = 12, .nnz = 40, .steps = 8, .starts = 7, .tolerance = 0.0});
    std::vector<double> all = found.losses;
    for (const SparseWeights* layer : {&found.net.weights, &found.net.output})
      all.insert(all.end(), layer->values().begin(), layer->values().end());
    return all;
  };
  const auto wanted = with_threads(1, run);
  EXPECT_EQ(with_threads(2, run), wanted);
  EXPECT_EQ(with_threads(3, run), wanted);
}

// Bytes at the peak beyond the data, on one thread.
std::int64_t peak_of(std::int32_t m, std::int64_t s) {
  const PlantedOutputs p(200, 200, 100, 5, 200, 1);
  const std::size_t before = g_live_bytes;
  g_peak_bytes = before;
  (void)with_threads(1, [&] {
    return recover("strong", p.problem(),
                   {.hidden_width = m, .nnz = s, .steps = 3, .starts = 4, .workspace = 4 << 20});
  });
  return static_cast<std::int64_t>(g_peak_bytes - before);
}

TEST(StrongOutputs, NeedNoMoreMemoryForTwentyTimesAsManyNeurons) {
  const std::int64_t narrow = peak_of(1000, 500), wide = peak_of(20000, 500);
  EXPECT_LE(wide, narrow + narrow / 10);
  EXPECT_LE(peak_of(20000, 1000), 2 * wide);
}

}  // namespace
}  // namespace tulle::testing
