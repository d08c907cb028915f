// Truly sparse: looking at the gradient of every cell takes no memory of their size.
#include <gtest/gtest.h>

#include "tulle/base/allocations_testing.h"
#include "tulle/base/parallel.h"
#include "tulle/evolve/grow.h"
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

}  // namespace
}  // namespace tulle
