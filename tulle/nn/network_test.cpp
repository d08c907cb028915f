#include "tulle/nn/network.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>

#include "tulle/base/clock.h"
#include "tulle/base/parallel.h"
#include "tulle/nn/test_network.h"

namespace tulle {
namespace {

// Draws nets of `spec` until no sum lies on a kink, then compares on every panel width.
void expect_equals_oracle(const NetworkSpec& spec, const oracle::Loss& loss, std::int32_t samples,
                          Dice& dice) {
  for (;;) {
    Network network = make_network(spec, dice);
    oracle::Batch batch = make_batch(loss.name, spec.sizes.front(), spec.sizes.back(), samples, dice);
    batch.training = true;
    batch.place = {.seed = dice.below(~0ull), .step = 5, .worker = 2, .first_position = 48};
    const oracle::Network twin = oracle_of(network);
    const oracle::Result wanted = oracle::evaluate(twin, batch, loss);
    if (wanted.to_kink < kClear) continue;
    for (const int width : kernels::kWidths)
      ASSERT_TRUE(equals_oracle(network, run_network(network, batch, loss, width), wanted, kTolerance))
          << "width " << width << ", batch " << samples;
    batch.training = false;
    ASSERT_TRUE(equals_oracle(network, run_network(network, batch, loss, 32),
                              oracle::evaluate(twin, batch, loss), kTolerance))
        << "evaluation";
    return;
  }
}

class NetworkWith : public ::testing::TestWithParam<ActivationInfo> {
 protected:
  std::string activation() const { return std::string(GetParam().name); }
};

TEST_P(NetworkWith, EqualsTheOracleForEveryLossSparseAndDenseWithAndWithoutDropout) {
  Dice dice;
  for (const LossInfo& info : losses())
    for (const bool dense : {false, true})
      for (const double dropout : {0.0, 0.3}) {
        SCOPED_TRACE(std::string(info.name) + (dense ? ", dense" : ", sparse"));
        const oracle::Loss loss{.name = std::string(info.name), .label_smoothing = dropout / 3};
        expect_equals_oracle({.sizes = {23, 19, 21, 5},
                              .activation = activation(),
                              .densities = {0.4},
                              .dense = dense,
                              .dropout = dropout},
                             loss, 37, dice);
      }
}

TEST_P(NetworkWith, EqualsTheOracleOnRandomShapes) {
  Dice dice;
  for (int trial = 0; trial < 12; ++trial) {
    const std::vector<double> densities{static_cast<double>(dice.below(11)) / 10,
                                        static_cast<double>(dice.below(11)) / 10,
                                        static_cast<double>(dice.below(11)) / 10};
    const NetworkSpec spec{
        .sizes = {between(dice, 1, 30), between(dice, 1, 30), between(dice, 1, 30), between(dice, 1, 8)},
        .activation = activation(),
        .output_activation = dice.below(3) == 0 ? activation() : "identity",
        .densities = densities,
        .dropout = dice.below(2) == 0 ? 0.0 : 0.5};
    SCOPED_TRACE("trial " + std::to_string(trial));
    const LossInfo& loss = losses()[static_cast<std::size_t>(trial) % losses().size()];
    expect_equals_oracle(spec, {.name = std::string(loss.name)}, between(dice, 1, 60), dice);
  }
}

INSTANTIATE_TEST_SUITE_P(Activations, NetworkWith,
                         ::testing::ValuesIn(activations().begin(), activations().end()),
                         [](const auto& info) { return test_name(info.param.name); });

TEST(Network, EqualsTheOracleAtTheEdgesOfItsShapes) {
  Dice dice;
  const oracle::Loss loss{.name = "cross-entropy"};
  for (const std::int32_t samples : {1, 15, 16, 17, 128, 300}) {  // 300: several panels of every width
    SCOPED_TRACE("all neurons single");
    expect_equals_oracle({.sizes = {1, 1, 1, 1}, .densities = {1.0}}, loss, samples, dice);
    SCOPED_TRACE("no connections at all");
    expect_equals_oracle({.sizes = {6, 5, 4}, .densities = {0.0}}, loss, samples, dice);
    SCOPED_TRACE("no connections in the middle");
    expect_equals_oracle({.sizes = {6, 5, 4, 3}, .densities = {1.0, 0.0, 1.0}}, loss, samples, dice);
    SCOPED_TRACE("few: empty targets and unused sources");
    expect_equals_oracle({.sizes = {40, 30, 20, 3}, .densities = {0.03}}, loss, samples, dice);
    SCOPED_TRACE("all");
    expect_equals_oracle({.sizes = {9, 8, 7}, .densities = {1.0}}, loss, samples, dice);
    SCOPED_TRACE("one layer");
    expect_equals_oracle({.sizes = {9, 4}, .densities = {0.5}}, loss, samples, dice);
    SCOPED_TRACE("dense, more neurons than one tile of 64");
    expect_equals_oracle({.sizes = {70, 131, 65, 3}, .activation = "tanh", .dense = true}, loss, samples,
                         dice);
    SCOPED_TRACE("dense, single neurons");
    expect_equals_oracle({.sizes = {1, 1, 1}, .dense = true}, loss, samples, dice);
  }
}

TEST(Network, SparseLayersWithAllConnectionsEqualDenseLayers) {
  Dice dice;
  NetworkSpec spec{.sizes = {30, 70, 20, 4}, .activation = "tanh", .densities = {1.0}, .dropout = 0.2};
  Network sparse = make_network(spec, dice);
  spec.dense = true;
  Network dense = make_network(spec, dice);
  for (std::size_t i = 0; i < dense.parameters().size(); ++i)
    dense.parameters()[i]->value = sparse.parameters()[i]->value;
  oracle::Batch batch = make_batch("cross-entropy", 30, 4, 75, dice);
  batch.training = true;
  const oracle::Loss loss{.name = "cross-entropy"};
  const oracle::Result exact = oracle::evaluate(oracle_of(dense), batch, loss);
  EXPECT_TRUE(equals_oracle(dense, run_network(dense, batch, loss, 32), exact, kTolerance));
  EXPECT_TRUE(equals_oracle(sparse, run_network(sparse, batch, loss, 32), exact, kTolerance));
}

TEST(Network, ForgetsFormerBatches) {
  // A short batch after a long one, and another width, must not see what the buffers held.
  Dice dice;
  const oracle::Loss loss{.name = "cross-entropy"};
  for (const char* activation : {"all-relu", "gelu"}) {
    const NetworkSpec spec{.sizes = {12, 11, 10, 3}, .activation = activation, .dropout = 0.3};
    Network network = make_network(spec, dice);
    oracle::Batch large = make_batch(loss.name, 12, 3, 200, dice),
                  small = make_batch(loss.name, 12, 3, 21, dice);
    large.training = small.training = true;
    const Outcome fresh = run_network(network, small, loss, 16);
    (void)run_network(network, large, loss, 64);
    EXPECT_EQ(run_network(network, small, loss, 16), fresh) << activation;
    large.training = false;
    (void)run_network(network, large, loss, 64);
    EXPECT_EQ(run_network(network, small, loss, 16), fresh) << activation << ", after an evaluation";
  }
}

TEST(Network, CountsItsConnectionsAndCells) {
  Dice dice;
  const Network network = make_network({.sizes = {10, 20, 5}, .densities = {0.25, 0.5}}, dice);
  EXPECT_EQ(network.connections(), 50 + 50);
  EXPECT_EQ(network.cells(), 300u);
  EXPECT_DOUBLE_EQ(network.density(), 1.0 / 3.0);
}

TEST(Network, NamesEveryParameterOnceInTheOrderOfTheLayers) {
  Dice dice;
  Network network = make_network({.sizes = {3, 2, 1}, .activation = "srelu"}, dice);
  std::vector<std::string> names;
  for (const Parameter* parameter : network.parameters()) names.push_back(parameter->name);
  const std::vector<std::string> expected{"layers.0.weight",           "layers.0.bias",
                                          "layers.0.activation.t_l",   "layers.0.activation.a_l",
                                          "layers.0.activation.t_hat", "layers.0.activation.a_r",
                                          "layers.1.weight",           "layers.1.bias"};
  EXPECT_EQ(names, expected);
}

TEST(Network, WithMoreThreadsThanCoresTakesAtMostThreeTimesAsLong) {
  // Threads that waited awake without bound would take the cores from those that work.
  Dice dice;
  Network network = make_network({.sizes = {200, 1000, 1000, 10}, .densities = {0.05}}, dice);
  PanelBuffer memory;
  const Panels<float> x = memory.view(200, 128, network.panel_width(128));
  const auto seconds = [&](int threads) {
    set_thread_count(threads);
    const Clock clock;
    for (int step = 0; step < 20; ++step) {
      network.forward({.training = true}, x);
      network.output_gradient();
      network.backward();
    }
    return clock.seconds();
  };
  double as_many = 1e9, more = 1e9;
  for (int round = 0; round < 10; ++round) {  // the best of several: others may be at work
    as_many = std::min(as_many, seconds(available_cores()));
    more = std::min(more, seconds(4 * available_cores()));
  }
  set_thread_count(0);
  EXPECT_LT(more, 3.0 * as_many);
}

TEST(Network, RefusesLayersThatDoNotChainAndNoLayers) {
  const auto layer = [](std::int32_t inputs, std::int32_t outputs) {
    return std::make_unique<DenseLinear>(LayerOptions{.inputs = inputs, .outputs = outputs});
  };
  std::vector<std::unique_ptr<Layer>> none, broken;
  EXPECT_THROW(Network(std::move(none)), std::invalid_argument);
  broken.push_back(layer(3, 4));
  broken.push_back(layer(5, 2));
  EXPECT_THROW(Network(std::move(broken)), std::invalid_argument);
}

// Samples of which about `density` of the features are there, as panels and as they are.
struct SparseSamples {
  PanelBuffer memory;
  Panels<float> panels;
  SparseBatch batch;

  SparseSamples(std::int32_t features, std::int32_t samples, std::int32_t width, double density, Dice& dice) {
    panels = memory.view(features, samples, width);
    batch.start(features, width);
    for (std::int32_t b = 0; b < samples; ++b) {
      std::vector<std::int32_t> columns;
      std::vector<float> values;
      for (std::int32_t f = 0; f < features; ++f)
        if (static_cast<double>(dice.below(1000)) < 1000 * density) {
          columns.push_back(f);
          values.push_back(dice.value());
          panels.at(b, f) = values.back();
        }
      batch.add(columns, values);
    }
    batch.finish();
  }
};

struct PassResult {
  std::vector<std::vector<float>> outputs;
  std::vector<float> gradients;
};

template <class Inputs>
PassResult pass_with(Network& network, const Inputs& x, std::int32_t samples) {
  PassResult result;
  const Panels<const float> y = network.forward({.training = true, .seed = 3, .step = 5}, x);
  result.outputs = to_rows(y);
  const Panels<float> gradient = network.output_gradient();
  for (std::int32_t b = 0; b < gradient.count() * gradient.width; ++b)
    for (std::int32_t c = 0; c < gradient.features; ++c)
      gradient.at(b, c) = b < samples ? 0.01f * static_cast<float>((b * 7 + c * 3) % 11 - 5) : 0.0f;
  network.backward();
  result.gradients = gradients_of(network);
  return result;
}

TEST(SparseSamplesAsTheyAre, GiveWhatPanelsOfThemGive) {
  Dice dice;
  for (const double density : {0.0, 0.02, 0.3, 1.0})
    for (const auto& [samples, width] : {std::pair{1, 16}, {37, 32}, {200, 128}}) {
      Network network = make_network({.sizes = {60, 300, 20, 4}, .densities = {0.2}, .dropout = 0.2}, dice);
      const SparseSamples x(60, samples, width, density, dice);
      const PassResult panels = pass_with(network, x.panels, samples),
                       sparse = pass_with(network, x.batch, samples);
      for (std::size_t b = 0; b < panels.outputs.size(); ++b)
        for (std::size_t c = 0; c < panels.outputs[b].size(); ++c)
          ASSERT_NEAR(sparse.outputs[b][c], panels.outputs[b][c], 1e-5)
              << density << ", " << samples << " samples";
      ASSERT_EQ(sparse.gradients.size(), panels.gradients.size());
      for (std::size_t k = 0; k < panels.gradients.size(); ++k)
        ASSERT_NEAR(sparse.gradients[k], panels.gradients[k], 1e-4)
            << density << ", " << samples << " samples, " << k;
    }
}

TEST(SparseSamplesAsTheyAre, GiveTheSameBitsForAnyNumberOfThreads) {
  Dice dice;
  Network network = make_network({.sizes = {90, 200, 50, 4}, .densities = {0.2}}, dice);
  const SparseSamples x(90, 150, 64, 0.05, dice);
  set_thread_count(1);
  const PassResult one = pass_with(network, x.batch, 150);
  for (const int threads : {2, 3, 8}) {
    set_thread_count(threads);
    const PassResult many = pass_with(network, x.batch, 150);
    EXPECT_EQ(many.outputs, one.outputs);
    EXPECT_EQ(many.gradients, one.gradients);
  }
  set_thread_count(0);
}

TEST(SparseSamplesAsTheyAre, AreRefusedWhereTheFirstLayerIsDense) {
  Dice dice;
  Network network = make_network({.sizes = {9, 5, 4}, .dense = true}, dice);
  const SparseSamples x(9, 3, 16, 0.5, dice);
  EXPECT_FALSE(network.takes_sparse());
  EXPECT_THROW(network.forward({}, x.batch), std::logic_error);
}

}  // namespace
}  // namespace tulle
