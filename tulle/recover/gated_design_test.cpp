#include "tulle/recover/gated_design.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <ostream>

#include "tulle/base/random.h"
#include "tulle/kernels/targets.h"
#include "tulle/recover/recover_testing.h"
#include "tulle/recover/support.h"

namespace tulle::testing {
namespace {

constexpr std::int64_t kWorkspace = 32 << 20;

std::vector<double> random_vector(std::size_t size, std::size_t used, std::uint64_t seed) {
  std::vector<double> v(size, 0.0);
  const Random random{.seed = seed, .stream = Stream::kData};
  for (std::size_t i = 0; i < used; ++i) v[i] = static_cast<double>(random.normal(i));
  return v;
}

// Gates, support and samples of an odd shape.
struct Problem {
  std::string gates;
  std::int64_t n, m;
  std::int32_t d;
  std::int64_t s;

  Samples x = planted_samples(n, d, 7, 0);
  SparseWeights support = planted_weights(m, d, s, false, 8);

  SparseWeights vectors() const {
    SparseWeights h = planted_weights(m, d, m * 3, true, 9);
    return h;
  }
  void set(GatedDesign& design) const {
    if (gates == "random") design.set_random_gates(5);
    if (gates == "vectors") design.set_gates(vectors());
    if (gates == "open") design.set_open_gates();
  }
  bool open(std::int64_t i, std::int64_t j) const {
    if (gates == "open") return true;
    double sum = 0.0;
    if (gates == "random") {
      const Random random{.seed = 5, .stream = Stream::kGates};
      for (std::int32_t c = 0; c < d; ++c)
        sum += static_cast<double>(x.column(c)[i]) *
               static_cast<double>(random.normal(static_cast<std::uint64_t>(j * d + c)));
    } else {
      const SparseWeights h = vectors();
      const SparseWeights::Block* const block = h.find(j);
      for (std::int64_t k = block == nullptr ? 0 : block->begin; block != nullptr && k < block->end; ++k)
        sum += block->sign * h.values()[static_cast<std::size_t>(k)] *
               static_cast<double>(x.column(h.feature()[static_cast<std::size_t>(k)])[i]);
    }
    return sum > 0.0;
  }
};

void PrintTo(const Problem& p, std::ostream* out) {
  *out << p.gates << ' ' << p.n << " x " << p.d << ", m " << p.m;
}

std::vector<Problem> problems() {
  std::vector<Problem> all;
  for (const char* gates : {"random", "vectors", "open"}) {
    all.push_back({gates, 700, 5, 13, 20});     // one group, two tiles and a piece
    all.push_back({gates, 33, 40, 7, 60});      // fewer samples than a tile, three groups
    all.push_back({gates, 600, 3, 300, 50});    // features in pieces
    all.push_back({gates, 700, 20, 1100, 60});  // whose number follows threads and workspace
  }
  all.push_back({"vectors", 64, 150, 9, 11});  // so many neurons that a group takes all features
  return all;
}

class EveryGate : public ::testing::TestWithParam<Problem> {};

TEST_P(EveryGate, MultipliesLikeTheMatrixItStandsFor) {
  const Problem& p = GetParam();
  GatedDesign design(p.x, p.m, kWorkspace);
  p.set(design);
  design.bind(p.support);
  const auto s = static_cast<std::size_t>(p.support.nonzeros());
  const std::vector<double> v = random_vector(s, s, 1);
  const std::vector<double> r =
      random_vector(static_cast<std::size_t>(p.x.padded()), static_cast<std::size_t>(p.n), 2);
  std::vector<double> y(static_cast<std::size_t>(p.x.padded())), g(s);
  design.multiply(v, y);
  design.multiply_transposed(r, g);
  std::vector<double> all(static_cast<std::size_t>(p.m * p.d), 0.0);
  std::vector<int> seen(all.size(), 0);
  std::mutex mutex;
  design.gradient(r, [&](int, std::int64_t neuron, std::int32_t first, std::span<const double> piece) {
    const std::lock_guard lock(mutex);
    for (std::size_t i = 0; i < piece.size(); ++i) {
      all[static_cast<std::size_t>(neuron * p.d + first) + i] = piece[i];
      ++seen[static_cast<std::size_t>(neuron * p.d + first) + i];
    }
  });

  std::vector<double> wanted_y(y.size(), 0.0), wanted_g(s, 0.0);
  for (const SparseWeights::Block& block : p.support.blocks())
    for (std::int64_t i = 0; i < p.n; ++i) {
      if (!p.open(i, block.neuron)) continue;
      for (auto k = static_cast<std::size_t>(block.begin); k < static_cast<std::size_t>(block.end); ++k) {
        const auto value = static_cast<double>(p.x.column(p.support.feature()[k])[i]);
        wanted_y[static_cast<std::size_t>(i)] += value * v[k];
        wanted_g[k] += value * r[static_cast<std::size_t>(i)];
      }
    }
  for (std::size_t i = 0; i < y.size(); ++i) EXPECT_NEAR(y[i], wanted_y[i], 1e-10) << i;
  for (std::size_t k = 0; k < s; ++k) EXPECT_NEAR(g[k], wanted_g[k], 1e-9) << k;
  EXPECT_NEAR(dot(y, r), dot(v, g), 1e-12 * std::sqrt(dot(y, y) * dot(r, r)));
  double through_all = 0.0;  // <v, A_S^T r> of the tiles in single precision
  for (std::size_t k = 0; k < s; ++k)
    through_all += v[k] * all[static_cast<std::size_t>(p.support.places()[k])];
  EXPECT_NEAR(dot(y, r), through_all, 1e-5 * std::sqrt(dot(y, y) * dot(r, r)));
  for (std::size_t k = 0; k < s; ++k)
    EXPECT_NEAR(all[static_cast<std::size_t>(p.support.places()[k])], wanted_g[k],
                2e-5 * std::sqrt(dot(r, r)) * 10)
        << k;
  const bool every = p.gates != "vectors";
  for (const int count : seen) EXPECT_TRUE(count == 1 || (!every && count == 0));
}

TEST_P(EveryGate, GivesTheSameBitsForAnyThreadsAndWorkspace) {
  const Problem& p = GetParam();
  const std::vector<double> r =
      random_vector(static_cast<std::size_t>(p.x.padded()), static_cast<std::size_t>(p.n), 2);
  const auto run = [&](std::int64_t workspace) {
    GatedDesign design(p.x, p.m, workspace);
    p.set(design);
    design.bind(p.support);
    std::vector<double> y(static_cast<std::size_t>(p.x.padded())),
        g(static_cast<std::size_t>(p.support.nonzeros()));
    design.multiply(p.support.values(), y);
    design.multiply_transposed(r, g);
    y.insert(y.end(), g.begin(), g.end());
    std::vector<double> all(static_cast<std::size_t>(p.m * p.d), 0.0);
    design.gradient(r, [&](int, std::int64_t neuron, std::int32_t first, std::span<const double> piece) {
      std::ranges::copy(piece, all.begin() + neuron * p.d + first);
    });
    y.insert(y.end(), all.begin(), all.end());
    return y;
  };
  const auto wanted = with_threads(1, [&] { return run(kWorkspace); });
  EXPECT_EQ(with_threads(2, [&] { return run(kWorkspace); }), wanted);
  EXPECT_EQ(with_threads(3, [&] { return run(GatedDesign::minimum_workspace()); }), wanted);
}

TEST_P(EveryGate, AgreesOnEveryInstructionSet) {
  const Problem& p = GetParam();
  std::vector<std::vector<double>> found;
  for (const std::string& target : kernels::available_targets()) {
    kernels::force_target(target);
    GatedDesign design(p.x, p.m, kWorkspace);
    p.set(design);
    design.bind(p.support);
    found.emplace_back(static_cast<std::size_t>(p.x.padded()));
    design.multiply(p.support.values(), found.back());
  }
  kernels::force_target("");
  for (const auto& y : found)
    for (std::size_t i = 0; i < y.size(); ++i) EXPECT_NEAR(y[i], found[0][i], 1e-10);
}

INSTANTIATE_TEST_SUITE_P(GatedDesign, EveryGate, ::testing::ValuesIn(problems()), [](const auto& info) {
  return info.param.gates + std::to_string(info.param.n) + "x" + std::to_string(info.param.d) + "m" +
         std::to_string(info.param.m);
});

TEST(GatedDesign, WithItsOwnGatesIsTheReluNet) {
  const Planted p(500, 20, 12, 30, 3, true);
  GatedDesign design(p.x, 12, kWorkspace);
  design.set_gates(p.net.weights);
  design.bind(p.net.weights);
  std::vector<double> y(p.y.size());
  design.multiply(p.net.weights.values(), y);
  for (std::int64_t i = 0; i < p.x.count(); ++i) {
    double wanted = 0.0;
    for (const SparseWeights::Block& block : p.net.weights.blocks()) {
      double sum = 0.0;
      for (auto k = static_cast<std::size_t>(block.begin); k < static_cast<std::size_t>(block.end); ++k)
        sum += block.sign * p.net.weights.values()[k] *
               static_cast<double>(p.x.column(p.net.weights.feature()[k])[i]);
      wanted += block.sign * std::max(sum, 0.0);
    }
    EXPECT_NEAR(y[static_cast<std::size_t>(i)], wanted, 1e-10);
    EXPECT_NEAR(p.y[static_cast<std::size_t>(i)], wanted, 1e-10);
  }
}

// Away from kinks the slope of the squared error is -2 A^T r, the net's own derivative.
TEST(GatedDesign, ItsTransposeIsTheSlopeOfTheNet) {
  const Planted p(300, 10, 6, 15, 4, true);
  const std::vector<double> y = random_vector(p.y.size(), 300, 6);
  GatedDesign design(p.x, 6, kWorkspace);
  SparseWeights w = p.net.weights;
  design.set_gates(w);
  design.bind(w);
  std::vector<double> r(y.size()), g(static_cast<std::size_t>(w.nonzeros()));
  (void)true_loss(design, y, w, r);
  design.multiply_transposed(r, g);
  constexpr double kStep = 1e-6;
  for (std::size_t k = 0; k < g.size(); ++k) {
    SparseWeights up = w, down = w;
    up.values()[k] += kStep;
    down.values()[k] -= kStep;
    const double slope = (true_loss(design, y, up, r) - true_loss(design, y, down, r)) / (2.0 * kStep);
    EXPECT_NEAR(slope, -2.0 * g[k], 1e-4 * std::max(1.0, std::abs(slope))) << k;
  }
}

TEST(LeastSquares, SolvesTheNormalEquationsOnTheSupport) {
  const Planted p(400, 15, 8, 20, 5);
  GatedDesign design(p.x, 8, kWorkspace);
  design.set_gates(p.net.weights);
  design.bind(p.net.weights);
  std::vector<double> v(static_cast<std::size_t>(p.net.weights.nonzeros()), 0.0), r(p.y.size());
  least_squares(design, p.y, v, r, 200);
  for (std::size_t k = 0; k < v.size(); ++k) EXPECT_NEAR(v[k], p.net.weights.values()[k], 1e-8);
}

TEST(GatedDesign, OfAnEmptySupportIsZero) {
  const Samples x = planted_samples(70, 5, 1, 0);
  GatedDesign design(x, 4, kWorkspace);
  design.set_random_gates(1);
  design.bind(SparseWeights(4, 5));
  std::vector<double> y(static_cast<std::size_t>(x.padded()), 1.0);
  design.multiply({}, y);
  EXPECT_EQ(y, std::vector<double>(y.size(), 0.0));
  design.multiply_transposed(y, {});
}

TEST(GatedDesign, RefusesSizesThatDiffer) {
  const Samples x(10, 3);
  EXPECT_THROW(GatedDesign(x, 0, kWorkspace), std::invalid_argument);
  EXPECT_THROW(GatedDesign(x, 2, 1000), std::invalid_argument);
  GatedDesign design(x, 2, kWorkspace);
  std::vector<double> wrong(3), right(static_cast<std::size_t>(x.padded()));
  EXPECT_THROW(design.multiply({}, wrong), std::invalid_argument);
  EXPECT_THROW(design.multiply_transposed(right, wrong), std::invalid_argument);
}

}  // namespace
}  // namespace tulle::testing
