#include "tulle/nn/oracle.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tulle/nn/test_network.h"

namespace tulle {
namespace {

constexpr double kStep = 1e-6;

// A small net whose sums all lie away from the kinks of their activations, where no derivative exists.
struct Problem {
  oracle::Network net;
  oracle::Batch batch;
};
Problem smooth_problem(const std::string& activation, const oracle::Loss& loss, double dropout, Dice& dice) {
  for (;;) {
    const std::vector<std::int32_t> sizes{between(dice, 1, 4), between(dice, 1, 4), between(dice, 1, 4),
                                          between(dice, 1, 3)};
    Network network = make_network({.sizes = sizes,
                                    .activation = activation,
                                    .output_activation = dice.below(2) == 0 ? "identity" : activation,
                                    .densities = {0.7},
                                    .dropout = dropout},
                                   dice);
    Problem problem{oracle_of(network), make_batch(loss.name, sizes[0], sizes[3], between(dice, 1, 5), dice)};
    problem.batch.training = true;
    problem.batch.place = {.seed = dice.below(~0ull), .step = 3};
    if (oracle::evaluate(problem.net, problem.batch, loss).to_kink > 1e-4) return problem;
  }
}

class OracleGradients : public ::testing::TestWithParam<ActivationInfo> {};

TEST_P(OracleGradients, EqualCentralDifferencesForEveryLossWithDropoutAndLabelSmoothing) {
  Dice dice;
  int nets = 0;
  for (const LossInfo& info : losses()) {
    for (const double dropout : {0.0, 0.4}) {
      for (const double smoothing : {0.0, 0.1}) {
        const oracle::Loss loss{.name = std::string(info.name), .label_smoothing = smoothing};
        Problem problem = smooth_problem(std::string(GetParam().name), loss, dropout, dice);
        const oracle::Result exact = oracle::evaluate(problem.net, problem.batch, loss);
        double largest = 0;
        for (const double g : exact.gradient) largest = std::max(largest, std::abs(g));
        for (std::size_t i = 0; i < exact.gradient.size(); ++i) {
          double& parameter = problem.net.parameters[i];
          const double start = parameter;
          parameter = start + kStep;
          const double above = oracle::evaluate(problem.net, problem.batch, loss).objective;
          parameter = start - kStep;
          const double below = oracle::evaluate(problem.net, problem.batch, loss).objective;
          parameter = start;
          // The difference itself is exact to about 2^-52 / h of the objective, some 1e-9.
          ASSERT_NEAR(exact.gradient[i], (above - below) / (2 * kStep), 1e-6 * largest + 1e-9)
              << info.name << ", dropout " << dropout << ", smoothing " << smoothing << ", parameter " << i;
        }
        ++nets;
      }
    }
  }
  EXPECT_EQ(nets, 12) << "times 9 activations: more than 100 nets";
}

INSTANTIATE_TEST_SUITE_P(Activations, OracleGradients,
                         ::testing::ValuesIn(activations().begin(), activations().end()),
                         [](const auto& info) { return test_name(info.param.name); });

TEST(Oracle, EqualsANetWorkedOutByHand) {
  // x = (1, 2); hidden z = 0.5 * 1 - 1 * 2 + 0.5 = -1, All-ReLU -0.6 -> 0.6; output 2 * 0.6 - 0.2 = 1.
  const oracle::Network net{.layers = {{.inputs = 2,
                                        .outputs = 1,
                                        .connections = {{0, 0}, {0, 1}},
                                        .activation = {.name = "all-relu", .slope = -0.6}},
                                       {.inputs = 1, .outputs = 1, .connections = {{0, 0}}}},
                            .parameters = {0.5, -1.0, 0.5, 2.0, -0.2}};
  const oracle::Batch batch{.inputs = {{1.0f, 2.0f}}, .values = {{0.5f}}};
  const oracle::Result result = oracle::evaluate(net, batch, {.name = "mse"});
  EXPECT_NEAR(result.outputs[0][0], 1.0, 1e-15);
  EXPECT_NEAR(result.loss_sum, 0.25, 1e-15);
  // dL/dy = 0.5; dL/dz = 0.5 * 2 * -0.6 = -0.6.
  const std::vector<double> gradient{-0.6, -1.2, -0.6, 0.5 * 0.6, 0.5};
  for (std::size_t i = 0; i < gradient.size(); ++i) EXPECT_NEAR(result.gradient[i], gradient[i], 1e-15);
}

}  // namespace
}  // namespace tulle
