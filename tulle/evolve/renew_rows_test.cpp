#include "tulle/evolve/renew_rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <set>

#include "tulle/base/parallel.h"
#include "tulle/nn/bf16_weights.h"
#include "tulle/sparse/sampling.h"

namespace tulle {
namespace {

const WeightInitInfo& law(std::string_view name) {
  for (const WeightInitInfo& info : weight_inits())
    if (info.name == name) return info;
  throw std::logic_error("no such law");
}

// Weights of either sign, all different, and momentum that tells which weight it belongs to.
std::unique_ptr<SparseLayer> sparse_layer_of(Topology topology,
                                             LayerOptions options = {.storage = Storage::kCompact}) {
  options.outputs = topology.rows(), options.inputs = topology.cols();
  auto layer = make_sparse_layer(options, std::move(topology));
  widen(layer->weight());
  Parameter& weight = layer->weight();
  const Random random{.seed = 9};
  for (std::size_t k = 0; k < weight.value.size(); ++k) weight.value[k] = random.normal(k);
  weight.m1.resize(weight.value.size());
  for (std::size_t k = 0; k < weight.value.size(); ++k) weight.m1[k] = 2.0f * weight.value[k];
  if (options.bf16_weights) narrow(weight);
  return layer;
}

LayerEvolution renew(SparseLayer& layer, double zeta, std::uint32_t step = 0,
                     std::string_view of = "normal") {
  LayerEvolution result{.before = layer.connections()};
  const auto random = [&](Stream stream) { return Random{.seed = 4, .stream = stream, .event = step}; };
  renew_rows(layer,
             {.zeta = zeta,
              .law = &law(of),
              .context = {.topology = *layer.topology()},
              .drops = random(Stream::kDrop),
              .sources = random(Stream::kGrow),
              .values = random(Stream::kGrowValue)},
             result);
  return result;
}

std::set<std::uint64_t> cells(const Topology& topology) {
  const auto keys = topology.keys();
  return {keys.begin(), keys.end()};
}

TEST(RenewRows, KeepsTheStrongestOfEachRowWithTheirStatesAndStartsOthersAnew) {
  for (const LayerOptions& options : {LayerOptions{}, LayerOptions{.storage = Storage::kCompact}}) {
    const auto before = sparse_layer_of(random_topology(50, 40, 500, {.seed = 1}), options),
               after = sparse_layer_of(random_topology(50, 40, 500, {.seed = 1}), options);
    const LayerEvolution result = renew(*after, 0.4);
    const Topology &old = *before->topology(), &now = *after->topology();
    const auto grown = std::set<std::uint64_t>(result.grown_cells.begin(), result.grown_cells.end());
    EXPECT_TRUE(std::ranges::is_sorted(result.grown_cells));
    EXPECT_EQ(grown.size(), result.grown_cells.size());
    EXPECT_EQ(result.grown, std::ssize(result.grown_cells));
    EXPECT_EQ(result.dropped, result.grown);
    EXPECT_GT(result.grown, 150);
    EXPECT_LT(result.grown, 250);
    std::int64_t regrown = 0;
    for (std::int32_t r = 0; r < 50; ++r) {
      const auto begin = static_cast<std::size_t>(old.row_ptr()[static_cast<std::size_t>(r)]);
      ASSERT_EQ(now.row(r).size(), old.row(r).size());
      float weakest_kept = INFINITY, strongest_gone = 0.0f;
      std::int64_t kept = 0;
      for (std::size_t j = 0; j < old.row(r).size(); ++j) {
        const float value = before->weight().value[begin + j];
        const auto at = std::ranges::lower_bound(now.row(r), old.row(r)[j]);
        const bool still = at != now.row(r).end() && *at == old.row(r)[j];
        const bool new_one = grown.contains(static_cast<std::uint64_t>(r * 40 + old.row(r)[j]));
        if (still && !new_one) {
          const auto k = begin + static_cast<std::size_t>(at - now.row(r).begin());
          EXPECT_EQ(after->weight().value[k], value);
          EXPECT_EQ(after->weight().m1[k], 2.0f * value);
          weakest_kept = std::min(weakest_kept, std::abs(value));
          ++kept;
        } else {
          strongest_gone = std::max(strongest_gone, std::abs(value));
          regrown += new_one ? 1 : 0;
        }
      }
      EXPECT_LT(strongest_gone, weakest_kept);
      const double goes = 0.4 * static_cast<double>(old.row(r).size());
      EXPECT_NEAR(static_cast<double>(std::ssize(old.row(r)) - kept), goes, 1.0);
    }
    EXPECT_EQ(result.regrown, regrown);
    for (const std::uint64_t cell : grown) {
      const auto r = static_cast<std::int32_t>(cell / 40);
      const auto at = std::ranges::lower_bound(now.row(r), static_cast<std::int32_t>(cell % 40));
      const auto k =
          static_cast<std::size_t>(now.row_ptr()[static_cast<std::size_t>(r)] + (at - now.row(r).begin()));
      EXPECT_EQ(after->weight().value[k],
                draw_weight(law("normal"), 0.1, {.seed = 4, .stream = Stream::kGrowValue}, cell));
      EXPECT_EQ(after->weight().m1[k], 0.0f);
    }
  }
}

TEST(RenewRows, GivesTheSameForAnyNumberOfThreadsAndForWeightsInBfloat16) {
  std::vector<std::set<std::uint64_t>> all;
  std::vector<std::vector<std::uint16_t>> bits;
  for (const int threads : {1, 2, 3}) {
    set_thread_count(threads);
    const auto layer = sparse_layer_of(fixed_fan_in_topology(3000, 2000, 3, {.seed = 2}),
                                       {.storage = Storage::kCompact, .bf16_weights = true});
    for (std::uint32_t step = 0; step < 3; ++step) renew(*layer, 0.3, step);
    EXPECT_TRUE(layer->topology()->row_ptr().is_even());
    EXPECT_TRUE(layer->weight().is_bf16());
    all.push_back(cells(*layer->topology()));
    bits.emplace_back(layer->weight().bf16_value.begin(), layer->weight().bf16_value.end());
  }
  set_thread_count(0);
  EXPECT_EQ(all[1], all[0]);
  EXPECT_EQ(all[2], all[0]);
  EXPECT_EQ(bits[1], bits[0]);
  EXPECT_EQ(bits[2], bits[0]);
}

TEST(RenewRows, DropsTheShareThatIsAskedForOnAverageWhereRowsAreShort) {
  const auto layer = sparse_layer_of(fixed_fan_in_topology(20000, 1000, 2, {.seed = 3}));
  const double share = static_cast<double>(renew(*layer, 0.3).dropped) / 40000;
  EXPECT_NEAR(share, 0.3, 4 * std::sqrt(0.6 * 0.4 * 20000) / 40000);  // one of two goes with 0.6
  EXPECT_EQ(renew(*layer, 0.0).dropped, 0);
  EXPECT_EQ(renew(*layer, 1.0).dropped, 40000);
}

// Twice: few connections are drawn by rejection, many from what is absent.
TEST(RenewRows, DrawsAllSourcesThatARowLacksAlike) {
  for (const std::int32_t fan_in : {4, 24}) {
    constexpr std::int32_t kSources = 30;
    constexpr std::uint32_t kEvents = 6000;
    std::vector<int> count(kSources, 0);
    const auto fresh = sparse_layer_of(fixed_fan_in_topology(1, kSources, fan_in, {.seed = 5}));
    for (std::uint32_t step = 0; step < kEvents; ++step) {
      const auto layer = sparse_layer_of(*fresh->topology());
      for (const std::uint64_t cell : renew(*layer, 0.25, step).grown_cells) ++count[cell];
    }
    const std::int32_t goes = fan_in / 4, kept = fan_in - goes;
    const double share = static_cast<double>(goes) / (kSources - kept);
    std::int32_t never = 0;
    for (const int n : count) {
      if (n == 0)
        ++never;
      else
        EXPECT_NEAR(n, kEvents * share, 5 * std::sqrt(kEvents * share * (1 - share)));
    }
    EXPECT_EQ(never, kept);
  }
}

TEST(RenewRows, LeavesLayersWithAllConnectionsOrNoneAsTheyAre) {
  for (const Topology& topology : {full_topology(5, 7), Topology(5, 7, {0, 0, 0, 0, 0, 0}, {})}) {
    const auto layer = sparse_layer_of(topology);
    const LayerEvolution result = renew(*layer, 0.5);
    EXPECT_EQ(*layer->topology(), topology);
    EXPECT_EQ(result.regrown, result.dropped);
  }
}

}  // namespace
}  // namespace tulle
