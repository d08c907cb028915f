// Whole trainings of small nets against the same trainings in double precision.
#include <gtest/gtest.h>

#include <cmath>

#include "tulle/base/parallel.h"
#include "tulle/nn/test_network.h"
#include "tulle/optim/optimizer.h"
#include "tulle/optim/reference.h"

namespace tulle {
namespace {

constexpr int kSteps = 50;
constexpr float kRate = 0.01f;
// Nearer to a kink than this, rounding may choose the other side.
constexpr double kClear = 1e-6;

// What the twin in double knows beside its numbers: which weights decay.
struct Twin {
  oracle::Network net;
  std::vector<reference::Entry> entries;
  std::vector<bool> decays;

  Twin(Network& network, std::string_view optimizer)
      : net(oracle_of(network)), entries(net.parameters.size()) {
    for (std::size_t i = 0; i < entries.size(); ++i) entries[i].theta = net.parameters[i];
    for (const Parameter* parameter : network.parameters())
      decays.insert(decays.end(), parameter->value.size(), reference::decays(optimizer, parameter->kind));
  }
};

void step(Network& network, const Optimizer& optimizer) {
  for (Parameter* parameter : network.parameters()) optimizer.step(*parameter, kRate);
}

// Whether every parameter array is the twin's to `relative` of its largest number.
::testing::AssertionResult equals_twin(Network& network, const Twin& twin, double relative) {
  std::size_t i = 0;
  for (const Parameter* parameter : network.parameters()) {
    double largest = 0;
    for (const float v : parameter->value) largest = std::max(largest, std::abs(double{v}));
    for (const float v : parameter->value) {
      const double wanted = twin.entries[i++].theta;
      if (!(std::abs(v - wanted) <= relative * largest))
        return ::testing::AssertionFailure() << parameter->name << " has " << v << ", expected " << wanted;
    }
  }
  return ::testing::AssertionSuccess();
}

// Trains a net and its twin side by side, the twin from its own numbers alone. False if some sum came too
// near to a kink for a comparison to mean anything.
bool trains_like_its_twin(const OptimizerInfo& info, const OptimizerOptions& options, const NetworkSpec& spec,
                          Dice& dice) {
  const oracle::Loss loss{.name = "cross-entropy", .label_smoothing = 0.1};
  Network network = make_network(spec, dice);
  Twin twin(network, info.name);
  const auto optimizer = info.make(options);
  for (Parameter* parameter : network.parameters()) optimizer->prepare(*parameter);
  for (int t = 0; t < kSteps; ++t) {
    oracle::Batch batch = make_batch(loss.name, spec.sizes.front(), spec.sizes.back(), 19, dice);
    batch.training = true;
    batch.place = {.seed = 9, .step = static_cast<std::uint32_t>(t)};
    const oracle::Result wanted = oracle::evaluate(twin.net, batch, loss);
    if (wanted.to_kink < kClear) return false;
    const Outcome found = run_network(network, batch, loss, 32);
    const ::testing::AssertionResult same = equals_oracle(network, found, wanted, 1e-5);
    EXPECT_TRUE(same) << "forward and backward of step " << t;
    step(network, *optimizer);
    for (std::size_t i = 0; i < twin.entries.size(); ++i) {
      reference::step(info.name, options, twin.decays[i], kRate, wanted.gradient[i], twin.entries[i]);
      twin.net.parameters[i] = twin.entries[i].theta;
    }
    const ::testing::AssertionResult trained = equals_twin(network, twin, 1e-5);
    EXPECT_TRUE(trained) << "after step " << t;
    if (!same || !trained) return true;
  }
  return true;
}

class TrainingWith : public ::testing::TestWithParam<OptimizerInfo> {
 protected:
  void SetUp() override { set_thread_count(1); }
  void TearDown() override { set_thread_count(0); }
};

TEST_P(TrainingWith, FollowsDoublePrecisionForFiftySteps) {
  Dice dice;
  const std::vector<std::int32_t> sizes{6, 8, 7, 3};
  for (const char* activation : {"all-relu", "srelu", "gelu"})
    for (const double density : {1.0, 0.5})
      for (const bool dense : {false, true})
        for (const bool nesterov : {false, true}) {
          if (dense && density < 1.0) continue;
          SCOPED_TRACE(std::string(activation) + ", density " + std::to_string(density) +
                       (dense ? ", dense" : ", sparse") + (nesterov ? ", nesterov" : ""));
          const NetworkSpec spec{.sizes = sizes,
                                 .activation = activation,
                                 .densities = {density},
                                 .dense = dense,
                                 .dropout = nesterov ? 0.3 : 0.0};
          // e at 1e-4: where a gradient is zero but for rounding, adam at 1e-8 divides rounding by rounding.
          const OptimizerOptions options{.nesterov = nesterov, .weight_decay = 0.001, .adam_epsilon = 1e-4};
          int tries = 0;
          while (!trains_like_its_twin(GetParam(), options, spec, dice)) ASSERT_LT(++tries, 100);
          if (HasFailure()) return;
        }
}

TEST_P(TrainingWith, AWeightOfExactlyZeroStaysAConnectionForAThousandSteps) {
  // While the inputs are 0 the first layer gets no gradient, and its weights stay exactly 0.
  Dice dice;
  Network network = make_network({.sizes = {5, 6, 4, 2}, .activation = "tanh", .densities = {0.6}}, dice);
  Parameter& first = network.layer(0).weight();
  first.value.assign(first.value.size(), 0.0f);
  std::vector<Topology> before;
  for (std::size_t l = 0; l < network.size(); ++l) before.push_back(*network.layer(l).topology());
  const auto optimizer = GetParam().make({.weight_decay = 0.001});
  for (Parameter* parameter : network.parameters()) optimizer->prepare(*parameter);
  const oracle::Loss loss{.name = "cross-entropy"};
  oracle::Batch batch = make_batch(loss.name, 5, 2, 8, dice);
  batch.training = true;
  for (auto& row : batch.inputs) row.assign(5, 0.0f);
  for (int t = 0; t < 1000; ++t) {
    (void)run_network(network, batch, loss, 16);
    step(network, *optimizer);
  }
  for (std::size_t l = 0; l < network.size(); ++l) {
    EXPECT_EQ(*network.layer(l).topology(), before[l]) << "layer " << l;
    EXPECT_EQ(network.layer(l).connections(), before[l].nnz()) << "layer " << l;
  }
  for (const float w : first.value) ASSERT_EQ(w, 0.0f);

  // Connections they still are: with inputs they learn.
  for (auto& row : batch.inputs) row.assign(5, 1.0f);
  batch.classes.assign(batch.classes.size(), 0);
  (void)run_network(network, batch, loss, 16);
  step(network, *optimizer);
  int learnt = 0;
  for (std::size_t k = 0; k < first.value.size(); ++k) {
    EXPECT_EQ(first.value[k] != 0.0f, first.gradient[k] != 0.0f) << "connection " << k;
    learnt += first.value[k] != 0.0f;
  }
  EXPECT_GT(learnt, 0);
}

INSTANTIATE_TEST_SUITE_P(Optimizers, TrainingWith,
                         ::testing::ValuesIn(optimizers().begin(), optimizers().end()),
                         [](const auto& info) { return test_name(info.param.name); });

}  // namespace
}  // namespace tulle
