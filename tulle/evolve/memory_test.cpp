// Truly sparse: looking at the gradient of every cell takes no memory of their size, and an event little
// beside the layer.
#include <gtest/gtest.h>

#include "tulle/base/allocations_testing.h"
#include "tulle/base/name_table.h"
#include "tulle/base/parallel.h"
#include "tulle/evolve/evolve.h"
#include "tulle/evolve/grow.h"
#include "tulle/nn/sparse_layer.h"
#include "tulle/sparse/sampling.h"

namespace tulle {

Grow grow_gradient;

namespace {

std::size_t bytes_to_grow(std::int32_t targets, std::int64_t count) {
  constexpr std::int32_t kSources = 2000, kBatch = 16;
  const Topology taken = random_topology(targets, kSources, 1000, {.seed = 1});
  PanelBuffer inputs, errors;
  const GrowInput input{.taken = taken,
                        .count = count,
                        .connections = 1000,
                        .inputs = inputs.view(kSources, kBatch, kBatch),
                        .errors = errors.view(targets, kBatch, kBatch)};
  const std::size_t before = testing::g_allocated_bytes;
  EXPECT_EQ(grow_gradient(input).size(), static_cast<std::size_t>(count));
  return testing::g_allocated_bytes - before;
}

TEST(Memory, GradientGrowthTakesWhatGrowsAndATileWhateverTheLayer) {
  set_thread_count(1);
  const std::size_t small = bytes_to_grow(300, 50), large = bytes_to_grow(3000, 50);
  set_thread_count(0);
  EXPECT_LT(large, small + small / 4);
  EXPECT_LT(large, std::size_t{3000} * 2000);  // a tenth of a dense gradient and less
}

TEST(Memory, AnEventTakes16BytesForEachConnectionOfALayer) {
  constexpr std::int32_t kSide = 20'000;
  constexpr std::int64_t kLinks = 8'000'000;
  std::vector<std::unique_ptr<Layer>> layers;
  for (const std::int32_t outputs : {kSide, 1})
    layers.push_back(make_sparse_layer(
        {.index = outputs == 1 ? 1 : 0, .inputs = kSide, .outputs = outputs, .storage = Storage::kCompact},
        random_topology(outputs, kSide, outputs == 1 ? 10 : kLinks, {.seed = 1})));
  Network network(std::move(layers));
  Parameter& weight = network.layer(0).weight();
  const WeightInitInfo& law = weight_inits().front();
  weight.value = initial_weights(law, {.topology = *network.layer(0).topology()}, {.seed = 1});
  weight.m1.assign(weight.value.size(), 0.0f);

  set_thread_count(2);
  const std::size_t before = testing::g_live_bytes;
  testing::g_peak_bytes = before;
  const Evolution how{.drop = &find_name(drop_rules(), "test", "set"),
                      .grow = &find_name(grow_rules(), "test", "random"),
                      .law = {.law = &law}};
  const auto events = evolve(network, how, {.seed = 1, .zeta = 0.3});
  set_thread_count(0);
  EXPECT_NEAR(static_cast<double>(events.front().grown), 0.3 * kLinks, 2);
  // And 16 for each neuron. Each of three arrays is counted with up to two huge pages that nobody touches.
  EXPECT_LE(testing::g_peak_bytes - before, 16 * kLinks + 16 * kSide + 3 * (2 << 21) + 300'000);
}

}  // namespace
}  // namespace tulle
