// What a sparse network takes while it learns.
#include <gtest/gtest.h>

#include "tulle/base/parallel.h"
#include "tulle/nn/test_network.h"

#include "tulle/base/allocations_testing.h"  // last: its namespace hides GoogleTest's

namespace tulle {
namespace {

TEST(Memory, AFastNetworkThatKeepsNoGradientsTakes24BytesPerConnectionAndItsActivations) {
  set_thread_count(2);
  Dice dice;
  const std::int32_t side = 1000, batch = 16;  // not cut into tiles
  const std::size_t before = testing::g_live_bytes;
  Network network = make_network({.sizes = {side, side, side, side}, .densities = {0.05}}, dice);
  for (Parameter* parameter : network.parameters()) parameter->m1.assign(parameter->value.size(), 0.0f);
  for (std::size_t l = 0; l < network.size(); ++l)
    network.layer(l).set_weight_step([](const ParameterSlice&) {});
  {
    oracle::Batch samples = make_batch("mse", side, side, batch, dice);
    samples.training = true;
    run_network(network, samples, {.name = "mse"}, batch);
  }
  const std::size_t taken = testing::g_live_bytes - before;
  set_thread_count(0);
  const auto connections = static_cast<std::size_t>(network.connections());
  // Three layers' outputs, two of errors; row_ptr and source_ptr, bias, its gradient and momentum; blocks.
  const std::size_t others = std::size_t{side} * (5 * 4 * batch + 3 * (8 + 8 + 12)) + 2 * 16384 * 8;
  EXPECT_LE(taken, 24 * connections + others);
  EXPECT_GE(taken, 20 * connections) << "does this still measure it?";
}

// Bytes a connection of a network at work, without its activations.
double compact_bytes(bool bf16, bool momentum) {
  set_thread_count(2);
  Dice dice;
  const std::int32_t side = 2000, batch = 16;
  const std::size_t before = testing::g_live_bytes;
  Network network = make_network({.sizes = {side, side, side, side},
                                  .densities = {0.05},
                                  .storage = Storage::kCompact,
                                  .bf16_weights = bf16},
                                 dice);
  for (Parameter* parameter : network.parameters())
    if (momentum) keep_momentum(*parameter);
  for (std::size_t l = 0; l < network.size(); ++l)
    network.layer(l).set_weight_step([](const ParameterSlice&) {});
  {
    oracle::Batch samples = make_batch("mse", side, side, batch, dice);
    samples.training = true;
    run_network(network, samples, {.name = "mse"}, batch);
  }
  const std::size_t taken = testing::g_live_bytes - before;
  set_thread_count(0);
  // Three layers' outputs, two of errors; row_ptr, bits, bias, its gradient and momentum. Not what the test
  // itself keeps of the inputs, 0.2 bytes a connection.
  const std::size_t others = std::size_t{side} * (5 * 4 * batch + 3 * (8 + 2 + 12));
  return (static_cast<double>(taken) - static_cast<double>(others)) /
         static_cast<double>(network.connections());
}

TEST(Memory, ACompactNetworkTakes12BytesAConnectionAnd8Without) {
  EXPECT_NEAR(compact_bytes(/*bf16=*/false, /*momentum=*/true), 12.0, 0.25);
  EXPECT_NEAR(compact_bytes(/*bf16=*/false, /*momentum=*/false), 8.0, 0.25);
}

TEST(Memory, WeightsInBfloat16Take8BytesAConnectionWithMomentumAnd6Without) {
  EXPECT_NEAR(compact_bytes(/*bf16=*/true, /*momentum=*/true), 8.0, 0.25);
  EXPECT_NEAR(compact_bytes(/*bf16=*/true, /*momentum=*/false), 6.0, 0.25);
}

}  // namespace
}  // namespace tulle
