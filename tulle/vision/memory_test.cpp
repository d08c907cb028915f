// What a sparse sMLPNet takes while it learns.
#include <gtest/gtest.h>

#include "tulle/base/parallel.h"
#include "tulle/sparse/sampling.h"
#include "tulle/vision/smlp_net.h"

#include "tulle/base/allocations_testing.h"  // last: its namespace hides GoogleTest's

namespace tulle {
namespace {

// The largest array of a training with connections of this density.
std::size_t largest_array(const SmlpShape& shape, double density) {
  std::vector<std::optional<Topology>> topologies;
  for (const LayerOptions& layer : smlp_layer_options(shape)) {
    topologies.emplace_back();
    if (density < 1.0)
      topologies.back() = random_topology(layer.outputs, layer.inputs,
                                          static_cast<std::int64_t>(density * layer.outputs * layer.inputs),
                                          {.seed = 1, .layer = static_cast<std::uint32_t>(layer.index)});
  }
  testing::g_largest_bytes = 0;
  Network network = make_smlp(shape, {}, std::move(topologies), 1);
  for (Parameter* parameter : network.parameters()) parameter->m1.assign(parameter->value.size(), 0.0f);
  PanelBuffer memory;
  const Panels<float> x = memory.view(network.inputs(), 4, 16);
  for (std::int32_t f = 0; f < x.features; ++f)
    for (std::int32_t b = 0; b < 4; ++b) x.at(b, f) = static_cast<float>((f * 7 + b * 3) % 5);
  for (int step = 0; step < 2; ++step) {
    const Panels<const float> y = network.forward({.training = true}, x);
    const Panels<float> gradient = network.output_gradient();
    for (std::int32_t k = 0; k < y.features; ++k) gradient.at(0, k) = 1.0f;
    network.backward();
  }
  return testing::g_largest_bytes;
}

TEST(Memory, ATrainingOfASparseSmlpNetTakesNoArrayOfADenseWeightsSize) {
  set_thread_count(2);
  const SmlpShape shape{
      .channels = 1, .height = 8, .width = 8, .embedding = 256, .depths = {1}, .classes = 3};
  const std::size_t dense_weight = sizeof(float) * 256 * 3 * 256;
  EXPECT_LT(largest_array(shape, 0.05), dense_weight / 2);
  EXPECT_GE(largest_array(shape, 1.0), dense_weight) << "does this still measure it?";
  set_thread_count(0);
}

}  // namespace
}  // namespace tulle
