// Dropout, thread counts, micro-batches and sign bits, seen from a whole network.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "tulle/base/parallel.h"
#include "tulle/nn/test_network.h"

namespace tulle {
namespace {

const oracle::Loss kLoss{.name = "cross-entropy"};

std::vector<std::uint32_t> bits_of(const std::vector<float>& values) {
  std::vector<std::uint32_t> bits;
  for (const float value : values) bits.push_back(std::bit_cast<std::uint32_t>(value));
  return bits;
}

oracle::Batch training_batch(std::int32_t inputs, std::int32_t outputs, std::int32_t samples, Dice& dice) {
  oracle::Batch batch = make_batch(kLoss.name, inputs, outputs, samples, dice);
  batch.training = true;
  batch.place = {.seed = 11, .step = 4, .worker = 1, .first_position = 32};
  return batch;
}

// Samples [begin, end) of `batch`, at their place in it.
oracle::Batch part_of(const oracle::Batch& batch, std::int32_t begin, std::int32_t end) {
  oracle::Batch part = batch;
  part.inputs.assign(batch.inputs.begin() + begin, batch.inputs.begin() + end);
  part.classes.assign(batch.classes.begin() + begin, batch.classes.begin() + end);
  part.place.first_position += begin;
  return part;
}

class NetworkWithDropout : public ::testing::TestWithParam<ActivationInfo> {
 protected:
  void TearDown() override { set_thread_count(0); }
  NetworkSpec spec(bool dense) const {
    return {.sizes = {33, 70, 21, 4},
            .activation = std::string(GetParam().name),
            .densities = {0.3},
            .dense = dense,
            .dropout = 0.4};
  }
};

TEST_P(NetworkWithDropout, ComputesTheSameBitsForAnyThreadCount) {
  for (const bool dense : {false, true}) {
    Dice dice;
    Network network = make_network(spec(dense), dice);
    const oracle::Batch batch = training_batch(33, 4, 150, dice);
    set_thread_count(1);
    const Outcome one = run_network(network, batch, kLoss, 64);
    for (const int threads : {2, 3, 5, 8}) {
      set_thread_count(threads);
      const Outcome many = run_network(network, batch, kLoss, 64);
      EXPECT_EQ(many.outputs, one.outputs) << threads << " threads, dense " << dense;
      EXPECT_EQ(bits_of(many.gradient), bits_of(one.gradient)) << threads << " threads, dense " << dense;
    }
  }
}

TEST_P(NetworkWithDropout, MicroBatchesGiveTheOutputsOfTheFullBatchAndTheirGradientsAddUp) {
  Dice dice;
  Network network = make_network(spec(false), dice);
  const oracle::Batch full = training_batch(33, 4, 101, dice);
  const Outcome whole = run_network(network, full, kLoss, 128);
  const oracle::Result terms = oracle::evaluate(oracle_of(network), full, kLoss);
  std::vector<double> sum(whole.gradient.size());
  double loss = 0;
  std::size_t sample = 0;
  for (const auto& [begin, end] : {std::pair{0, 16}, {16, 64}, {64, 101}}) {
    const Outcome part = run_network(network, part_of(full, begin, end), kLoss, 32);
    for (const auto& row : part.outputs) EXPECT_EQ(row, whole.outputs[sample++]);
    loss += part.loss.loss_sum;
    for (std::size_t i = 0; i < sum.size(); ++i)
      sum[i] += static_cast<double>(part.gradient[i]) * (end - begin) / 101;
  }
  EXPECT_NEAR(loss, whole.loss.loss_sum, 1e-12 * loss);
  double scale = 0;
  for (const double magnitude : terms.magnitude) scale = std::max(scale, magnitude);
  for (std::size_t i = 0; i < sum.size(); ++i)
    EXPECT_NEAR(sum[i], whole.gradient[i], 1e-6 * scale) << "parameter " << i;
}

TEST_P(NetworkWithDropout, HasNoneInEvaluation) {
  NetworkSpec with = spec(false), without = with;
  without.dropout = 0.0;
  Dice first, second;
  Network dropping = make_network(with, first), plain = make_network(without, second);
  oracle::Batch batch = training_batch(33, 4, 40, first);
  const Outcome trained = run_network(dropping, batch, kLoss, 32);
  batch.training = false;
  EXPECT_EQ(run_network(dropping, batch, kLoss, 32).outputs, run_network(plain, batch, kLoss, 32).outputs);
  EXPECT_NE(run_network(dropping, batch, kLoss, 32).outputs, trained.outputs);
}

TEST_P(NetworkWithDropout, DrawsItsMaskFromSeedStepWorkerAndPositionAlone) {
  Dice dice;
  Network network = make_network(spec(false), dice);
  const oracle::Batch batch = training_batch(33, 4, 40, dice);
  const Outcome first = run_network(network, batch, kLoss, 32);
  const auto with = [&](auto change) {
    oracle::Batch other = batch;
    change(other.place);
    return run_network(network, other, kLoss, 32).outputs;
  };
  EXPECT_NE(with([](auto& place) { place.seed = 12; }), first.outputs);
  EXPECT_NE(with([](auto& place) { place.step = 5; }), first.outputs);
  EXPECT_NE(with([](auto& place) { place.worker = 2; }), first.outputs);
  EXPECT_NE(with([](auto& place) { place.first_position = 48; }), first.outputs);
  EXPECT_EQ(with([](auto&) {}), first.outputs);
}

TEST_P(NetworkWithDropout, SendsNoGradientThroughDroppedNeurons) {
  // One sample through one hidden layer: where a neuron's output is 0, so is the gradient of its weight into
  // the next layer, and nothing may flow back to the weights and the bias before it.
  constexpr std::int32_t kHidden = 64;
  for (const bool dense : {false, true}) {
    Dice dice;
    Network network = make_network({.sizes = {1, kHidden, 2},
                                    .activation = std::string(GetParam().name),
                                    .densities = {1.0},
                                    .dense = dense,
                                    .dropout = 0.5},
                                   dice);
    // Sums at 0.5 to 1, where no activation of the table is flat.
    for (float& w : network.layer(0).weight().value) w = 0.25f + 0.25f * std::abs(w);
    for (float& b : network.layer(0).bias().value) b = 0.25f;
    for (Parameter* p : network.parameters())
      if (p->name.ends_with("t_hat"))
        for (float& value : p->value) value = 5.0f;
    oracle::Batch batch = training_batch(1, 2, 1, dice);
    batch.inputs = {{1.0f}};
    (void)run_network(network, batch, kLoss, 16);
    int dropped = 0;
    for (std::size_t j = 0; j < kHidden; ++j) {
      const AlignedVector<float>& after = network.layer(1).weight().gradient;
      const bool gone = after[j] == 0.0f && after[kHidden + j] == 0.0f;
      EXPECT_EQ(network.layer(0).weight().gradient[j] == 0.0f, gone) << "neuron " << j;
      EXPECT_EQ(network.layer(0).bias().gradient[j] == 0.0f, gone) << "neuron " << j;
      dropped += gone;
    }
    EXPECT_NEAR(dropped, kHidden / 2, 20);  // 5 sigma
  }
}

INSTANTIATE_TEST_SUITE_P(Activations, NetworkWithDropout,
                         ::testing::ValuesIn(activations().begin(), activations().end()),
                         [](const auto& info) { return test_name(info.param.name); });

// The same net with srelu at t_l = 0, a_l = slope and t_r out of reach: All-ReLU again, but it keeps z
// instead of sign bits.
Network with_stored_sums(Network& all_relu) {
  std::vector<std::unique_ptr<Layer>> layers;
  for (std::size_t l = 0; l < all_relu.size(); ++l) {
    const Layer& like = all_relu.layer(l);
    LayerOptions options = like.options();
    if (options.activation == "all-relu") options.activation = "srelu";
    if (like.topology() == nullptr)
      layers.push_back(std::make_unique<DenseLinear>(options));
    else
      layers.push_back(make_sparse_layer(options, *like.topology()));
    layers[l]->weight().value = like.weight().value;
    layers[l]->bias().value = like.bias().value;
    const auto slope = static_cast<float>(l % 2 == 0 ? -options.alpha : options.alpha);
    for (Parameter* parameter : layers[l]->parameters())
      for (float& value : parameter->value) {
        if (parameter->name.ends_with("t_l")) value = 0.0f;
        if (parameter->name.ends_with("a_l")) value = slope;
        if (parameter->name.ends_with("t_hat")) value = 1e30f;
      }
  }
  return Network(std::move(layers));
}

TEST(SignBits, GiveTheGradientsOfStoredSumsBitForBit) {
  for (const bool dense : {false, true})
    for (const double dropout : {0.0, 0.3})
      for (const int width : kernels::kWidths) {
        Dice dice;
        Network bits = make_network(
            {.sizes = {20, 40, 30, 25, 3}, .densities = {0.3}, .dense = dense, .dropout = dropout}, dice);
        Network sums = with_stored_sums(bits);
        const oracle::Batch batch = training_batch(20, 3, 77, dice);
        EXPECT_EQ(run_network(bits, batch, kLoss, width).outputs,
                  run_network(sums, batch, kLoss, width).outputs);
        for (std::size_t l = 0; l < bits.size(); ++l) {
          for (const bool bias : {false, true}) {
            const auto gradient = [&](Network& network) {
              const Parameter& p = bias ? network.layer(l).bias() : network.layer(l).weight();
              return bits_of({p.gradient.begin(), p.gradient.end()});
            };
            EXPECT_EQ(gradient(bits), gradient(sums))
                << "layer " << l << ", bias " << bias << ", dense " << dense << ", dropout " << dropout
                << ", width " << width;
          }
        }
      }
}

}  // namespace
}  // namespace tulle
