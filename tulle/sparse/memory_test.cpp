// Truly sparse: nothing of the size of a dense layer is ever allocated.
#include <gtest/gtest.h>

#include "tulle/base/allocations_testing.h"
#include "tulle/base/clock.h"
#include "tulle/base/parallel.h"
#include "tulle/sparse/budgets.h"
#include "tulle/sparse/erdos_renyi.h"
#include "tulle/sparse/numbering.h"
#include "tulle/sparse/sampling.h"
#include "tulle/sparse/topology_update.h"
#include "tulle/sparse/weight_init.h"

namespace tulle {
namespace {

constexpr std::int32_t kSide = 200'000;  // 4 * 10^10 cells
constexpr std::size_t kLinks = 400'000;
constexpr std::size_t kResult = 8 * (std::size_t{kSide} + 1) + 4 * kLinks;  // row_ptr and columns
// Whatever does not grow: counters of 2^11 digits, one set a thread.
constexpr std::size_t kThreads = 2, kSmall = 4096 + 4 * 8 * 2048 * kThreads;

template <class Work>
std::size_t bytes_of(Work work) {
  set_thread_count(kThreads);
  const std::size_t before = testing::g_allocated_bytes;
  work();
  return testing::g_allocated_bytes - before;
}

Topology huge_layer() { return random_topology(kSide, kSide, kLinks, {.seed = 1}); }

TEST(Memory, DrawingAHugeLayerTakesItsResultAnd16BytesPerConnection) {
  const Clock clock;
  EXPECT_LE(bytes_of([] { EXPECT_EQ(huge_layer().nnz(), std::int64_t{kLinks}); }),
            kResult + 16 * kLinks + kSmall);
  EXPECT_LT(clock.seconds(), 1.0);
}

TEST(Memory, ShrunkRowPointersTake4BytesARowAndNoneWhereAllRowsAreAsLong) {
  for (const bool even : {false, true}) {
    Topology topology = even ? fixed_fan_in_topology(kSide, kSide, 2, {.seed = 1}) : huge_layer();
    const std::size_t before = testing::g_live_bytes;
    topology.shrink_row_ptr();
    const std::size_t given_back = before - testing::g_live_bytes, row = even ? 8 : 4;
    EXPECT_NEAR(static_cast<double>(given_back), static_cast<double>(row * kSide), kSmall);
  }
}

TEST(Memory, DrawingWithProbabilitiesOrReplacementTakesLittleMore) {
  // Blocks have room for a tenth more than they expect, of 8 bytes; then come the keys, of 8 bytes too.
  constexpr double kProbability = double{kLinks} / kSide / kSide;
  EXPECT_LE(bytes_of([] { bernoulli_topology(kSide, kSide, kProbability, {.seed = 1}); }),
            kResult + 18 * kLinks + kSmall);
  EXPECT_LE(bytes_of([] { merged_draws_topology(kSide, kSide, kLinks, {.seed = 1}); }),
            kResult + 16 * kLinks + kSmall);
}

TEST(Memory, FixedFanInTakesItsResultAndALittlePerTarget) {
  // The sources of one target grow by doubling: 1 + 2 = 3 of them at fan-in 2.
  EXPECT_LE(bytes_of([] { fixed_fan_in_topology(kSide, kSide, 2, {.seed = 1}); }),
            kResult + 3 * 4 * std::size_t{kSide} + kSmall);
}

TEST(Memory, NumberingAHugeLayerTakes16BytesARowAndItsResults) {
  const Topology t = huge_layer();
  RawVector<std::int32_t> order;
  EXPECT_LE(bytes_of([&] { order = rows_by_first_source(t); }), (16 + 4) * std::size_t{kSide} + kSmall);
  EXPECT_LE(bytes_of([&] { with_rows(t, order); }), kResult + kSmall);
}

TEST(Memory, InitialWeightsAndTheSourceIndexTakeTheirResults) {
  const Topology t = huge_layer();
  const WeightInitInfo& he_uniform = weight_inits().front();
  EXPECT_LE(bytes_of([&] { initial_weights(he_uniform, {.topology = t}, {.seed = 1}); }),
            4 * kLinks + kSmall);
  EXPECT_LE(bytes_of([&] { make_source_index(t, tile_width(kSide, t.density())); }),
            12 * kLinks + 2 * 8 * (std::size_t{kSide} + 1) + kSmall);
}

TEST(Memory, GrowingInAHugeLayerDependsOnTheGrownAndTheStoredConnectionsOnly) {
  const Topology t = huge_layer();
  const std::size_t count = kLinks / 10;
  std::vector<std::uint64_t> grown;
  EXPECT_LE(bytes_of([&] { grown = random_absent_cells(t, count, {.seed = 1, .stream = Stream::kGrow}); }),
            16 * count + kSmall);
  const std::vector<std::uint8_t> drop(kLinks, 0);
  EXPECT_LE(bytes_of([&] { replace_connections(t, drop, grown); }),
            8 * (std::size_t{kSide} + 1) + (4 + 8) * (kLinks + count) + kSmall);
}

}  // namespace
}  // namespace tulle
