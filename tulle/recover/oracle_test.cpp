// Steps of the methods beside the same steps on matrices that are formed, written from the paper's text.
#include <gtest/gtest.h>

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "tulle/base/random.h"
#include "tulle/recover/recover_testing.h"

namespace tulle::testing {
namespace {

using Eigen::MatrixXd;
using Eigen::VectorXd;

MatrixXd matrix_of(const Samples& x) {
  MatrixXd X(x.count(), x.features());
  for (std::int32_t c = 0; c < x.features(); ++c)
    for (std::int64_t i = 0; i < x.count(); ++i) X(i, c) = static_cast<double>(x.column(c)[i]);
  return X;
}

MatrixXd random_gates(std::int64_t m, std::int64_t d, std::uint64_t seed) {
  const Random random{.seed = seed, .stream = Stream::kGates};
  MatrixXd H(m, d);
  for (std::int64_t j = 0; j < m; ++j)
    for (std::int64_t c = 0; c < d; ++c)
      H(j, c) = static_cast<double>(random.normal(static_cast<std::uint64_t>(j * d + c)));
  return H;
}

// A_j = diag(G_j) X.
MatrixXd gated(const MatrixXd& X, const VectorXd& h) {
  return ((X * h).array() > 0.0).cast<double>().matrix().asDiagonal() * X;
}

// [A_1 | ... | A_m].
MatrixXd design(const MatrixXd& X, const MatrixXd& H) {
  MatrixXd A(X.rows(), H.size());
  for (std::int64_t j = 0; j < H.rows(); ++j)
    A.middleCols(j * X.cols(), X.cols()) = gated(X, H.row(j).transpose());
  return A;
}

// 1 where z is among the s largest in magnitude.
VectorXd strongest(const VectorXd& z, std::int64_t s) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(z.size()));
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, std::greater(), [&](std::int64_t p) { return std::abs(z(p)); });
  VectorXd chosen = VectorXd::Zero(z.size());
  for (std::int64_t k = 0; k < s; ++k)
    chosen(order[static_cast<std::size_t>(k)]) = z(order[static_cast<std::size_t>(k)]) != 0.0;
  return chosen;
}

// Section 3 of arXiv 2509.20323 with positive signs: `inner` is iht, aiht or htp. Losses are evaluated where
// the library decides in closed form.
VectorXd by_hand(const std::string& inner, const MatrixXd& X, const VectorXd& y, std::int64_t m,
                 std::int64_t s, int steps, bool own_gates, std::uint64_t seed) {
  MatrixXd H = random_gates(m, X.cols(), seed);
  VectorXd w = VectorXd::Zero(m * X.cols());
  for (int t = 0; t < steps; ++t) {
    const MatrixXd A = design(X, H);
    const auto loss = [&](const VectorXd& v) { return (A * v - y).squaredNorm(); };
    const VectorXd slope = A.transpose() * (A * w - y);
    double mu = 1e-14;
    if ((w.array() != 0.0).any()) {
      const VectorXd g = (w.array() != 0.0).select(slope, 0.0);
      mu = g.squaredNorm() / ((A * g).squaredNorm() + 1e-8);
    }
    const VectorXd z = w - mu * slope;
    const VectorXd chosen = strongest(z, s);
    const VectorXd start = chosen.cwiseProduct(z);
    w = start;
    for (int step = 0; inner == "aiht" && step < 10; ++step) {
      const VectorXd g = chosen.cwiseProduct(A.transpose() * (A * w - y));
      int refusals = 0;
      for (; refusals < 11 && loss(w - mu * g) > loss(w) - 0.9 * mu * g.squaredNorm(); ++refusals) mu /= 2;
      w = refusals < 11 ? VectorXd(w - mu * g) : start;
    }
    if (inner == "htp") {
      const MatrixXd masked = A * chosen.asDiagonal();
      w = masked.completeOrthogonalDecomposition().solve(y);
    }
    if (t >= 1 && own_gates)
      for (std::int64_t j = 0; j < m; ++j) H.row(j) = w.segment(j * X.cols(), X.cols()).transpose();
  }
  return w;
}

VectorXd dense(const SparseWeights& w) {
  VectorXd all = VectorXd::Zero(w.neurons() * w.features());
  for (std::size_t k = 0; k < w.places().size(); ++k) all(w.places()[k]) = w.values()[k];
  return all;
}

struct Steps {
  std::string method, gates;
  int count;
};

class EveryStep : public ::testing::TestWithParam<Steps> {};

TEST_P(EveryStep, IsThatOfTheMatrixWrittenOut) {
  const Steps& steps = GetParam();
  for (const std::uint64_t seed : {1, 2, 3}) {
    const Planted p(300, 12, 4, 9, seed);
    const VectorXd y = Eigen::Map<const VectorXd>(p.y.data(), 300);
    const VectorXd wanted =
        by_hand(steps.method, matrix_of(p.x), y, 4, 9, steps.count, steps.gates == "sequential", seed);
    const RecoverOptions options{.hidden_width = 4,
                                 .nnz = 9,
                                 .steps = steps.count,
                                 .signs = "positive",
                                 .gates = steps.gates,
                                 .published = true,
                                 .seed = seed};
    const VectorXd found = dense(recover(steps.method, p.problem(), options).net.weights);
    EXPECT_EQ((found.array() != 0.0).count(), (wanted.array() != 0.0).count());
    // The slopes of all weights are sums of single precision.
    EXPECT_LE((found - wanted).norm(), 1e-4 * wanted.norm()) << seed << "\n"
                                                             << found.transpose() << "\n"
                                                             << wanted.transpose();
  }
}

std::vector<Steps> all_steps() {
  std::vector<Steps> all;
  for (const char* method : {"iht", "aiht", "htp"})
    for (const char* gates : {"fixed", "sequential"})
      for (const int count : {1, 2, 5}) all.push_back({method, gates, count});  // 1: the step of 1e-14
  return all;
}

INSTANTIATE_TEST_SUITE_P(Oracle, EveryStep, ::testing::ValuesIn(all_steps()), [](const auto& info) {
  return info.param.method + "_" + info.param.gates + "_" + std::to_string(info.param.count);
});

// Several outputs: the products P_j = A_j^T R of each neuron, dW1_j = P_j w2_j and dW2_j = P_j^T w1_j, which
// the library never forms.
struct OutputsStep {
  bool classify;
  std::int64_t d, s;
};
class EveryOutputsStep : public ::testing::TestWithParam<OutputsStep> {};

TEST_P(EveryOutputsStep, IsThatOfTheProductsOfEachNeuron) {
  constexpr std::int64_t n = 200, m = 4, k = 3;
  const auto [classify, d, s] = GetParam();
  const Samples x = planted_samples(n, static_cast<std::int32_t>(d), 1, 0);
  const MatrixXd X = matrix_of(x);
  const Random random{.seed = 4, .stream = Stream::kData};
  MatrixXd Y(n, k);
  std::vector<double> y(static_cast<std::size_t>(k * x.padded()), 0.0);
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t o = 0; o < k; ++o)
      y[static_cast<std::size_t>(o * x.padded() + i)] = Y(i, o) =
          classify ? (random.below(3, static_cast<std::uint64_t>(i)) == static_cast<std::uint64_t>(o))
                   : static_cast<double>(random.normal(static_cast<std::uint64_t>(3 * i + o)));
  const MatrixXd H = random_gates(m, d, 7);
  const Random draws{.seed = 7, .stream = Stream::kGates, .layer = 2};
  MatrixXd W1 = MatrixXd::Zero(m, d), W2 = MatrixXd::Zero(m, k);
  for (int t = 0; t < 4; ++t) {
    MatrixXd R = (X * W1.transpose()).cwiseMax(0.0) * W2;
    if (classify)
      for (std::int64_t i = 0; i < n; ++i) R.row(i) = R.row(i).array().exp() / R.row(i).array().exp().sum();
    R = (R - Y) / static_cast<double>(n);
    MatrixXd V1 = W1, V2 = W2;
    if (t == 0) {
      V1 = H / std::sqrt(static_cast<double>(d * m));
      for (std::int64_t j = 0; j < m; ++j)
        for (std::int64_t o = 0; o < k; ++o)
          V2(j, o) = (2.0 * static_cast<double>(draws.uniform(static_cast<std::uint64_t>(j * k + o))) - 1.0) /
                     std::sqrt(static_cast<double>(m * k));
      W2 = V2;
    }
    const double mu = classify ? 0.001 : 0.005;
    VectorXd z(m * (d + k));
    for (std::int64_t j = 0; j < m; ++j) {
      const MatrixXd P = gated(X, V1.row(j).transpose()).transpose() * R;
      z.segment(j * d, d) = W1.row(j).transpose() - mu * P * V2.row(j).transpose();
      z.segment(m * d + j * k, k) = W2.row(j).transpose() - mu * P.transpose() * V1.row(j).transpose();
      if ((V1.row(j).array() == 0.0).all())
        z.segment(m * d + j * k, k).setZero();  // of dead neurons none stay
    }
    z = z.cwiseProduct(strongest(z, s));
    for (std::int64_t j = 0; j < m; ++j) {
      W1.row(j) = z.segment(j * d, d).transpose();
      W2.row(j) = z.segment(m * d + j * k, k).transpose();
    }
  }
  const Recovery found =
      recover("iht", {.x = x, .y = y, .outputs = k, .classify = classify},
              {.hidden_width = m, .nnz = s, .steps = 4, .published = true, .select = "value", .seed = 7});
  VectorXd wanted1(m * d), wanted2(m * k);  // W2 as [output][neuron]
  for (std::int64_t j = 0; j < m; ++j) {
    wanted1.segment(j * d, d) = W1.row(j).transpose();
    for (std::int64_t o = 0; o < k; ++o) wanted2(o * m + j) = W2(j, o);
  }
  EXPECT_GT(wanted1.norm(), 0.0);
  EXPECT_LE((dense(found.net.weights) - wanted1).norm(), 1e-4 * wanted1.norm());
  EXPECT_LE((dense(found.net.output) - wanted2).norm(), 1e-6 * wanted2.norm());
}

// Most slopes in the support, and most of the strongest outside it.
INSTANTIATE_TEST_SUITE_P(Oracle, EveryOutputsStep,
                         ::testing::Values(OutputsStep{false, 6, 24}, OutputsStep{true, 6, 24},
                                           OutputsStep{false, 60, 20}, OutputsStep{true, 60, 20}),
                         [](const auto& info) {
                           return (info.param.classify ? "CrossEntropy" : "Squares") +
                                  std::to_string(info.param.d);
                         });

}  // namespace
}  // namespace tulle::testing
