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

}  // namespace
}  // namespace tulle
