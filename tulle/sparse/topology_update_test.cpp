#include "tulle/sparse/topology_update.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tulle/base/parallel.h"

#include <numeric>
#include <random>
#include <set>
#include <stdexcept>

#include "tulle/sparse/sampling.h"
#include "tulle/sparse/test_statistics.h"
#include "tulle/sparse/topology_testing.h"

namespace tulle {
namespace {

using Keys = std::vector<std::uint64_t>;
using Flags = std::vector<std::uint8_t>;
using Positions = RawVector<std::int64_t>;
constexpr std::int64_t kGrown = TopologyUpdate::kGrown;

TEST(ReplaceConnections, DropsTheMarkedAndPutsTheGrownInTheirPlaces) {
  const TopologyUpdate update = replace_connections(example_topology(), Flags{0, 1, 0, 0, 1}, Keys{0, 6, 11});
  EXPECT_EQ(update.topology, Topology(3, 4, {0, 2, 3, 6}, {0, 1, 2, 0, 1, 3}));
  EXPECT_EQ(update.source, (Positions{kGrown, 0, kGrown, 2, 3, kGrown}));
  EXPECT_EQ(update.grown(), 3);
  EXPECT_EQ(update.regrown, 0);
  EXPECT_EQ(update.dropped(5), 2);
}

TEST(ReplaceConnections, CountsADroppedCellThatGrowsAgainAsGrown) {
  const TopologyUpdate update = replace_connections(example_topology(), Flags{0, 1, 0, 0, 0}, Keys{3});
  EXPECT_EQ(update.topology, example_topology());
  EXPECT_EQ(update.source, (Positions{0, kGrown, 2, 3, 4}));
  EXPECT_EQ(update.grown(), 1);
  EXPECT_EQ(update.regrown, 1);
  EXPECT_EQ(update.dropped(5), 1);
}

TEST(ReplaceConnections, MakesOfALargeLayerWhatSetsOfKeysSay) {
  const Topology old = random_topology(3000, 2000, 40000, {.seed = 1});
  const Random dice{.seed = 2};
  Flags drop(40000);
  for (std::size_t k = 0; k < drop.size(); ++k) drop[k] = dice.below(10, k) < 3 ? 1 : 0;
  const Topology left = kept(old, drop);
  Keys grown = random_absent_cells(left, 9000, {.seed = 3});
  const Keys before = old.keys();
  std::set<std::uint64_t> keys(grown.begin(), grown.end());
  for (std::size_t k = 0; k < drop.size(); ++k)
    if (drop[k] == 0)
      keys.insert(before[k]);
    else if (k % 5 == 0 && keys.insert(before[k]).second)
      grown.push_back(before[k]);  // dropped, and back at once
  std::ranges::sort(grown);

  const TopologyUpdate update = replace_connections(old, drop, grown);
  const Keys after = update.topology.keys();
  EXPECT_EQ(after, Keys(keys.begin(), keys.end()));
  std::int64_t regrown = 0;
  for (std::size_t k = 0; k < after.size(); ++k) {
    const bool is_grown = std::ranges::binary_search(grown, after[k]);
    ASSERT_EQ(update.source[k] == kGrown, is_grown) << after[k];
    if (is_grown)
      regrown += std::ranges::binary_search(before, after[k]) ? 1 : 0;
    else
      ASSERT_EQ(before[static_cast<std::size_t>(update.source[k])], after[k]);
  }
  EXPECT_EQ(update.regrown, regrown);
  EXPECT_EQ(left, without(old, drop).topology);
}

TEST(ReplaceConnections, WithoutChangesIsTheIdentity) {
  const TopologyUpdate update = replace_connections(example_topology(), Flags(5, 0), {});
  EXPECT_EQ(update.topology, example_topology());
  EXPECT_EQ(update.source, (Positions{0, 1, 2, 3, 4}));
}

TEST(ReplaceConnections, CanEmptyAndFillALayer) {
  const Topology empty = replace_connections(example_topology(), Flags(5, 1), {}).topology;
  EXPECT_EQ(empty, Topology(3, 4, {0, 0, 0, 0}, {}));
  Keys all(12);
  for (std::size_t i = 0; i < 12; ++i) all[i] = i;
  EXPECT_EQ(replace_connections(empty, {}, all).topology, full_topology(3, 4));
}

TEST(ReplaceConnections, RefusesGrownCellsThatAreUnsortedRepeatedStoredOrOutside) {
  const Flags keep(5, 0);
  for (const Keys& grown : {Keys{7, 6}, Keys{2, 0}, Keys{6, 6}, Keys{3}, Keys{12}, Keys{0, 1'000'000}})
    EXPECT_THROW(replace_connections(example_topology(), keep, grown), std::invalid_argument) << grown[0];
  EXPECT_THROW(replace_connections(example_topology(), Flags(4, 0), {}), std::invalid_argument)
      << "a flag is missing";
  // In 32 bits the second key, of row 0, would look like source 10 of row 2.
  const Topology wide(3, 2'147'483'647, {0, 0, 0, 0}, {});
  EXPECT_THROW(replace_connections(wide, {}, Keys{4'294'967'299, 8}), std::invalid_argument);
}

TEST(Without, KeepsTheUnmarkedConnections) {
  EXPECT_EQ(without(example_topology(), Flags{1, 0, 0, 1, 0}).topology,
            Topology(3, 4, {0, 1, 1, 3}, {3, 0, 2}));
}

TEST(CarryOver, KeptConnectionsKeepTheirValueGrownOnesStartAtTheInitialValue) {
  const TopologyUpdate update{.topology = Topology(1, 4, {0, 3}, {0, 2, 3}), .source = {0, kGrown, 1}};
  const std::vector<float> old_values{5.0f, -0.0f};
  const auto moved = carry_over<float>(update, old_values, 1.5f);
  EXPECT_EQ(moved, (AlignedVector<float>{5.0f, 1.5f, 0.0f}));
  EXPECT_TRUE(std::signbit(moved[2])) << "bit for bit";
  const std::vector<std::uint16_t> ages{3, 9};
  EXPECT_EQ(carry_over<std::uint16_t>(update, ages, 0), (AlignedVector<std::uint16_t>{3, 0, 9}));
}

TEST(ReplaceConnections, KeepsItsPromisesOverTenThousandRandomEvents) {
  SCOPED_TRACE(seed_note());
  std::mt19937_64 random(test_seed());
  int events = 0;
  for (std::uint64_t net = 0; net < 40; ++net) {
    const auto rows = 1 + static_cast<std::int32_t>(random() % 12),
               cols = 1 + static_cast<std::int32_t>(random() % 12);
    const std::uint64_t cells = static_cast<std::uint64_t>(rows * cols);
    Topology topology =
        random_topology(rows, cols, static_cast<std::int64_t>(random() % (cells + 1)), {.seed = net});
    Keys names = topology.keys();  // an array that travels with the connections: each is called by its key
    for (std::uint32_t event = 0; event < 250; ++event, ++events) {
      // Drop each with a probability that varies; grow as many, fewer or more.
      const std::uint64_t probability = random() % 101;
      Flags drop(names.size());
      for (auto& flag : drop) flag = random() % 100 < probability;
      const auto dropped = std::count(drop.begin(), drop.end(), 1);
      const auto wanted = dropped + static_cast<std::int64_t>(random() % 5) - 2;
      const Topology kept = without(topology, drop).topology;
      const Keys grown =
          random_absent_cells(kept, wanted, {.seed = net, .stream = Stream::kGrow, .event = event});
      const TopologyUpdate update = replace_connections(topology, drop, grown);

      std::set<std::uint64_t> expected(grown.begin(), grown.end());
      for (std::size_t k = 0; k < names.size(); ++k)
        ASSERT_TRUE(drop[k] != 0 || expected.insert(names[k]).second);
      const Keys keys = update.topology.keys();
      ASSERT_EQ(keys, Keys(expected.begin(), expected.end()));
      ASSERT_EQ(update.source.size(), keys.size());
      ASSERT_EQ(update.grown(), static_cast<std::int64_t>(grown.size()));
      ASSERT_EQ(update.dropped(topology.nnz()), dropped);
      const auto moved = carry_over<std::uint64_t>(update, names, ~std::uint64_t{0});
      for (std::size_t k = 0; k < keys.size(); ++k) {
        const bool is_grown = std::binary_search(grown.begin(), grown.end(), keys[k]);
        ASSERT_EQ(moved[k], is_grown ? ~std::uint64_t{0} : keys[k]);
      }
      topology = update.topology;
      names = keys;
    }
  }
  EXPECT_EQ(events, 10'000);
}

TEST(TopologyUpdate, IsTheSameForAnyNumberOfThreads) {
  const Topology old = random_topology(30'000, 50'000, 90'000, {.seed = 1});
  std::vector<std::uint8_t> drop(90'000, 0);
  for (std::size_t k = 0; k < drop.size(); k += 3) drop[k] = 1;
  set_thread_count(1);
  const Topology kept = without(old, drop).topology;
  const std::vector<std::uint64_t> cells = random_absent_cells(kept, 40'000, {.seed = 2});
  std::vector<float> starts(cells.size());
  std::iota(starts.begin(), starts.end(), 1.0f);
  const TopologyUpdate grown = replace_connections(old, drop, cells);
  EXPECT_EQ(grown.topology.nnz(), 100'000);
  EXPECT_EQ(grown.grown(), 40'000);
  std::vector<float> values(100'000, 0.0f);
  start_grown(grown, starts, values);
  EXPECT_EQ(std::count(values.begin(), values.end(), 0.0f), 60'000);
  std::size_t seen = 0;
  for (std::size_t k = 0; k < values.size(); ++k)
    if (grown.source[k] == kGrown) {
      ASSERT_EQ(values[k], starts[seen++]) << "in their order";
    }
  for (const int threads : {2, 3, 8}) {
    set_thread_count(threads);
    const TopologyUpdate again = replace_connections(old, drop, cells);
    std::vector<float> same(100'000, 0.0f);
    start_grown(again, starts, same);
    EXPECT_EQ(same, values) << threads;
    EXPECT_EQ(again.topology, grown.topology) << threads;
    EXPECT_EQ(again.source, grown.source) << threads;
  }
  set_thread_count(0);
}

TEST(StartGrown, RefusesTooFewValuesAndTooMany) {
  const TopologyUpdate update = replace_connections(example_topology(), Flags(5, 0), Keys{0, 6});
  std::vector<float> values(7);
  EXPECT_THROW(start_grown(update, std::vector<float>(1), values), std::invalid_argument);
  EXPECT_THROW(start_grown(update, std::vector<float>(3), values), std::invalid_argument);
  EXPECT_NO_THROW(start_grown(update, std::vector<float>(2), values));
}

}  // namespace
}  // namespace tulle
