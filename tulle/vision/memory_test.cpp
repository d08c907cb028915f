// What a sparse sMLPNet takes while it learns.
#include <gtest/gtest.h>

#include "tulle/base/parallel.h"
#include "tulle/sparse/sampling.h"
#include "tulle/vision/smlp_net.h"

#include "tulle/base/allocations_testing.h"  // last: its namespace hides GoogleTest's

namespace tulle {
namespace {

// Two training steps with connections of this density.
void train(const SmlpShape& shape, double density, std::int32_t images) {
  std::vector<std::optional<Topology>> topologies;
  for (const LayerOptions& layer : smlp_layer_options(shape)) {
    topologies.emplace_back();
    if (density < 1.0)
      topologies.back() = random_topology(layer.outputs, layer.inputs,
                                          static_cast<std::int64_t>(density * layer.outputs * layer.inputs),
                                          {.seed = 1, .layer = static_cast<std::uint32_t>(layer.index)});
  }
  Network network = make_smlp(shape, {}, std::move(topologies), 1);
  for (Parameter* parameter : network.parameters()) parameter->m1.assign(parameter->value.size(), 0.0f);
  PanelBuffer memory;
  const Panels<float> x = memory.view(network.inputs(), images, 16);
  for (std::int32_t f = 0; f < x.features; ++f)
    for (std::int32_t b = 0; b < images; ++b) x.at(b, f) = static_cast<float>((f * 7 + b * 3) % 5);
  for (int step = 0; step < 2; ++step) {
    const Panels<const float> y = network.forward({.training = true}, x);
    const Panels<float> gradient = network.output_gradient();
    for (std::int32_t k = 0; k < y.features; ++k) gradient.at(0, k) = 1.0f;
    network.backward();
  }
}

std::size_t largest_array(const SmlpShape& shape, double density) {
  testing::g_largest_bytes = 0;
  train(shape, density, 4);
  return testing::g_largest_bytes;
}

double most_floats(const SmlpShape& shape, double density, std::int32_t images) {
  const std::size_t before = testing::g_live_bytes;
  testing::g_peak_bytes = before;
  train(shape, density, images);
  return static_cast<double>(testing::g_peak_bytes - before) / sizeof(float);
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

// Of every token x, y and the hidden sums are kept, and once in all d, the stages' own outputs, a mean and a
// deviation. Batches of 4 and 12: chunks are as large in both, and panels of images (16) too.
TEST(Memory, AFurtherImageTakesFiveFloatsAChannelOfEachTokenOfEachBlock) {
  set_thread_count(1);  // with more, what is held at once depends on who is awake when
  const SmlpShape shape{
      .channels = 1, .height = 112, .width = 112, .patch = 2, .embedding = 8, .depths = {2, 2}, .classes = 3};
  const double channels = 2.0 * (3136 * 8 + 784 * 16);  // of all blocks
  train(shape, 1.0, 1);                                 // what is made once in a process
  for (const double density : {1.0, 0.2}) {
    const double found = (most_floats(shape, density, 12) - most_floats(shape, density, 4)) / 8.0;
    EXPECT_LT(found, 6.25 * channels) << density;
    EXPECT_GT(found, 5.0 * channels) << "does this still measure it?";
  }
  set_thread_count(0);
}

// Panels of its layers would be another 19 floats.
TEST(Memory, AFurtherBlockTakesNoScratchOfItsOwn) {
  set_thread_count(1);  // with more, what is held at once depends on who is awake when
  SmlpShape shape{
      .channels = 1, .height = 112, .width = 112, .patch = 2, .embedding = 8, .depths = {1}, .classes = 3};
  train(shape, 0.2, 1);  // what is made once in a process
  const double one = most_floats(shape, 0.2, 1);
  shape.depths = {4};
  EXPECT_LT((most_floats(shape, 0.2, 1) - one) / 3.0, 7.0 * 3136 * 8);  // weights of mixings too
  set_thread_count(0);
}

}  // namespace
}  // namespace tulle
