#include "tulle/recover/two_layers.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tulle/base/random.h"
#include "tulle/recover/recover_testing.h"

namespace tulle::testing {
namespace {

struct Net {
  Samples x;
  TwoLayers w{planted_weights(7, 9, 25, false, 2), planted_weights(7, 3, 12, false, 3)};
  std::vector<double> y;
  OutputProblem problem;

  explicit Net(bool classify, std::int64_t n = 150)
      : x(planted_samples(n, 9, 1, 0)),
        y(static_cast<std::size_t>(3 * x.padded()), 0.0),
        problem{x, y, 3, classify} {
    const Random random{.seed = 4, .stream = Stream::kData};
    for (std::int64_t i = 0; i < x.count(); ++i)
      for (std::int64_t o = 0; o < 3; ++o)
        y[static_cast<std::size_t>(o * x.padded() + i)] =
            classify ? (random.below(3, static_cast<std::uint64_t>(i)) == static_cast<std::uint64_t>(o))
                     : static_cast<double>(random.normal(static_cast<std::uint64_t>(3 * i + o)));
    problem.y = y;
  }
};

class EveryLoss : public ::testing::TestWithParam<bool> {};

TEST_P(EveryLoss, HasTheSlopeOfItsFiniteDifferences) {
  Net net(GetParam());
  std::vector<double> r;
  forward(net.problem, net.w, r);
  (void)loss_and_slope(net.problem, r);
  const LayersVector slope = support_slope(net.problem, net.w, r);
  constexpr double kStep = 1e-6;
  const double factor = GetParam() ? 1.0 : 2.0;
  const auto check = [&](SparseWeights TwoLayers::*layer, std::span<const double> of) {
    for (std::size_t k = 0; k < of.size(); ++k) {
      TwoLayers up = net.w, down = net.w;
      (up.*layer).values()[k] += kStep;
      (down.*layer).values()[k] -= kStep;
      const double found = (loss_of(net.problem, up) - loss_of(net.problem, down)) / (2.0 * kStep);
      EXPECT_NEAR(factor * of[k], found, 1e-4 * std::max(1.0, std::abs(found))) << k;
    }
  };
  check(&TwoLayers::first, slope.first);
  check(&TwoLayers::second, slope.second);
}

TEST_P(EveryLoss, BendsAlongADirectionAsItsOutputsChange) {
  Net net(GetParam());
  LayersVector direction{std::vector<double>(25), std::vector<double>(12)};
  const Random random{.seed = 5, .stream = Stream::kData};
  for (std::size_t k = 0; k < 25; ++k) direction.first[k] = static_cast<double>(random.normal(k));
  for (std::size_t k = 0; k < 12; ++k) direction.second[k] = static_cast<double>(random.normal(k + 25));
  const std::vector<double> change = output_change(net.problem, net.w, direction);
  constexpr double kStep = 1e-6;
  const auto at = [&](double step) {
    TwoLayers w = net.w;
    for (std::size_t k = 0; k < 25; ++k) w.first.values()[k] += step * direction.first[k];
    for (std::size_t k = 0; k < 12; ++k) w.second.values()[k] += step * direction.second[k];
    std::vector<double> f;
    forward(net.problem, w, f);
    return f;
  };
  const std::vector<double> up = at(kStep), down = at(-kStep);
  for (std::size_t i = 0; i < change.size(); ++i)
    EXPECT_NEAR(change[i], (up[i] - down[i]) / (2.0 * kStep), 1e-5) << i;

  // Along a straight line of outputs the loss's own second derivative.
  std::vector<double> f, p;
  forward(net.problem, net.w, f);
  const auto loss_at = [&](double step) {
    std::vector<double> z = f;
    for (std::size_t i = 0; i < z.size(); ++i) z[i] += step * change[i];
    return loss_and_slope(net.problem, z);
  };
  constexpr double kWide = 1e-3;
  const double second = (loss_at(kWide) - 2.0 * loss_at(0.0) + loss_at(-kWide)) / (kWide * kWide);
  std::vector<double> z = f;
  (void)loss_and_slope(net.problem, z, &p);
  EXPECT_NEAR((GetParam() ? 1.0 : 2.0) * curvature(net.problem, change, p), second, 1e-3 * second);
}

LayersVector random_direction(const TwoLayers& w, std::uint64_t seed) {
  const Random random{.seed = seed, .stream = Stream::kData};
  LayersVector direction{std::vector<double>(static_cast<std::size_t>(w.first.nonzeros())),
                         std::vector<double>(static_cast<std::size_t>(w.second.nonzeros()))};
  std::uint64_t counter = 0;
  for (std::vector<double>* layer : {&direction.first, &direction.second})
    for (double& v : *layer) v = static_cast<double>(random.normal(counter++));
  return direction;
}

TEST_P(EveryLoss, BendsAlongADirectionAsTheChangeOfItsOutputsTells) {
  const Net net(GetParam(), 1100);  // three tiles
  std::vector<double> r, p;
  forward(net.problem, net.w, r);
  (void)loss_and_slope(net.problem, r, &p);
  const LayersVector a = random_direction(net.w, 6), b = random_direction(net.w, 7);
  const LayersVector bent = curved(net.problem, net.w, p, a);
  const double bend = curvature(net.problem, output_change(net.problem, net.w, a), p);
  EXPECT_NEAR(dot(a, bent), bend, 1e-9 * bend);
  EXPECT_NEAR(dot(b, bent), dot(a, curved(net.problem, net.w, p, b)), 1e-9 * bend);
}

INSTANTIATE_TEST_SUITE_P(TwoLayers, EveryLoss, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "CrossEntropy" : "Squares"; });

TEST(NeuronSums, AreThoseOfEachNeuronByItself) {
  Net net(false);
  std::vector<double> r;
  forward(net.problem, net.w, r);
  (void)loss_and_slope(net.problem, r);
  const NeuronSums sums = neuron_sums(net.problem, net.w.first, r);
  ASSERT_EQ(sums.open.size(), net.w.first.blocks().size());
  for (std::size_t b = 0; b < sums.open.size(); ++b) {
    double open = 0.0, squares = 0.0, slopes[3] = {};
    const SparseWeights::Block& block = net.w.first.blocks()[b];
    for (std::int64_t i = 0; i < net.x.count(); ++i) {
      double t = 0.0;
      for (auto k = static_cast<std::size_t>(block.begin); k < static_cast<std::size_t>(block.end); ++k)
        t += net.w.first.values()[k] * static_cast<double>(net.x.column(net.w.first.feature()[k])[i]);
      if (t <= 0.0) continue;
      open += 1.0;
      squares += t * t;
      for (std::int64_t o = 0; o < 3; ++o)
        slopes[o] += t * r[static_cast<std::size_t>(o * net.x.padded() + i)];
    }
    EXPECT_EQ(sums.open[b], open);
    EXPECT_NEAR(sums.squares[b], squares, 1e-9 * squares);
    for (std::size_t o = 0; o < 3; ++o)
      EXPECT_NEAR(sums.slopes[3 * b + o], slopes[o], 1e-9 * (1.0 + squares));
  }
}

TEST(Transposed, MovesEachWeightToTheOtherSideAndDropsZeros) {
  const SparseWeights w(3, 2, {0, 3, 4, 5}, {1.0, 2.0, 0.0, 4.0});
  const SparseWeights t = transposed(w);
  EXPECT_EQ(t.neurons(), 2);
  EXPECT_EQ(t.features(), 3);
  EXPECT_EQ(std::vector(t.places().begin(), t.places().end()), (std::vector<std::int64_t>{0, 4, 5}));
  EXPECT_EQ(std::vector(t.values().begin(), t.values().end()), (std::vector{1.0, 2.0, 4.0}));
}

}  // namespace
}  // namespace tulle::testing
