#include "tulle/train/speed.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>

#include "tulle/nn/sparse_linear.h"
#include "tulle/sparse/sampling.h"

namespace tulle {
namespace {

Network small_network() {
  std::vector<std::unique_ptr<Layer>> layers;
  layers.push_back(std::make_unique<SparseLinear>(
      LayerOptions{.index = 0, .inputs = 30, .outputs = 40, .activation = "srelu", .dropout = 0.3, .seed = 3},
      random_topology(40, 30, 200, {.seed = 1})));
  layers.push_back(std::make_unique<SparseLinear>(LayerOptions{.index = 1, .inputs = 40, .outputs = 5},
                                                  random_topology(5, 40, 60, {.seed = 2})));
  Network network(std::move(layers));
  float value = 0.0f;
  for (Parameter* parameter : network.parameters())
    for (float& entry : parameter->value) entry += 0.5f - std::abs(std::sin(value += 0.7f));
  return network;
}

TEST(DenseCopy, HasTheSameOutputs) {
  Network network = small_network();
  const int batches[] = {1, 7, 130};
  for (const Speed& speed : measure_speed(network, batches, std::uint64_t{1} << 30)) {
    EXPECT_GT(speed.seconds, 0.0);
    EXPECT_GT(speed.dense_seconds, 0.0);
    EXPECT_LT(speed.difference, 1e-5);
    EXPECT_NEAR(speed.break_even, network.density() * speed.dense_seconds / speed.seconds, 1e-12);
  }
  EXPECT_EQ(dense_copy(network).connections(), 40 * 30 + 5 * 40);
}

TEST(MeasureSpeed, LeavesOutADenseNetworkThatIsTooLarge) {
  Network network = small_network();
  const int batch[] = {4};
  const std::uint64_t bytes = 4 * network.cells();
  EXPECT_GT(measure_speed(network, batch, bytes)[0].dense_seconds, 0.0);
  const Speed speed = measure_speed(network, batch, bytes - 1)[0];
  EXPECT_EQ(speed.dense_seconds, 0.0);
  EXPECT_EQ(speed.break_even, 0.0);
  EXPECT_GT(speed.seconds, 0.0);
}

}  // namespace
}  // namespace tulle
