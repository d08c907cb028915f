#include "tulle/evolve/importance.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tulle/evolve/evolve.h"
#include "tulle/evolve/test_layer.h"
#include "tulle/nn/compaction.h"
#include "tulle/nn/test_network.h"

namespace tulle {
namespace {

Evolution set_rule() {
  Evolution how;
  how.drop = &find_name(drop_rules(), "test", "set");
  how.grow = &find_name(grow_rules(), "test", "random");
  how.law = {.law = &find_name(weight_inits(), "test", "he-uniform")};
  return how;
}

double in_strength(const Layer& layer, std::int32_t target) {
  double sum = 0.0;
  const auto begin = static_cast<std::size_t>(layer.topology()->row_ptr()[static_cast<std::size_t>(target)]);
  for (std::size_t i = 0; i < layer.topology()->row(target).size(); ++i)
    sum += std::abs(layer.weight().value[begin + i]);
  return sum;
}

std::vector<std::vector<float>> outputs(Network& network, const oracle::Batch& batch) {
  return run_network(network, batch, {.name = "cross-entropy"}, 32).outputs;
}

TEST(Eliminate, TakesTheWeakestOfEveryHiddenLayerAndTheyNeverComeBack) {
  Dice dice;
  Network network = make_network({.sizes = {40, 50, 30, 10}, .densities = {0.3}}, dice);
  std::vector<std::pair<double, std::int32_t>> order;
  for (std::int32_t j = 0; j < 50; ++j) order.emplace_back(in_strength(network.layer(0), j), j);
  std::sort(order.begin(), order.end());
  std::vector<std::uint32_t> stay;
  for (std::size_t i = 10; i < 50; ++i) stay.push_back(static_cast<std::uint32_t>(order[i].second));
  std::sort(stay.begin(), stay.end());

  const auto events = eliminate_neurons(network, {.percentile = 20, .cascade = false});
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].before, 50);
  EXPECT_EQ(events[0].after, 40);
  EXPECT_EQ(events[1].after, 24);
  EXPECT_EQ(network.layer(0).options().neurons, stay);
  EXPECT_EQ(network.inputs(), 40);
  EXPECT_EQ(network.outputs(), 10);
  for (std::uint32_t step = 1; step <= 20; ++step)
    (void)evolve(network, set_rule(), {.seed = 1, .step = step});
  EXPECT_EQ(network.layer(0).outputs(), 40);
  EXPECT_EQ(network.layer(0).options().neurons, stay);
}

TEST(Eliminate, LeavesTheRestComputingAsIfTheNeuronsWereMasked) {
  Dice dice;
  const NetworkSpec spec{.sizes = {20, 30, 25, 5}, .densities = {0.5}};
  Network network = make_network(spec, dice);
  const oracle::Batch batch = make_batch("cross-entropy", 20, 5, 33, dice);
  Network whole = without_neurons(network, all_alive(network));  // a copy
  (void)eliminate_neurons(network, {.percentile = 30, .cascade = false});
  for (std::size_t l = 0; l + 1 < whole.size(); ++l) {
    std::vector<bool> alive(static_cast<std::size_t>(whole.layer(l).outputs()), false);
    for (const std::uint32_t j : network.layer(l).options().neurons) alive[j] = true;
    std::size_t k = 0;
    for (std::int32_t t = 0; t < whole.layer(l + 1).outputs(); ++t)
      for (const std::int32_t s : whole.layer(l + 1).topology()->row(t)) {
        if (!alive[static_cast<std::size_t>(s)]) whole.layer(l + 1).weight().value[k] = 0.0f;
        ++k;
      }
  }
  const auto masked = outputs(whole, batch), small = outputs(network, batch);
  for (std::size_t b = 0; b < masked.size(); ++b)
    for (std::size_t c = 0; c < masked[b].size(); ++c) EXPECT_NEAR(small[b][c], masked[b][c], 1e-5);
}

TEST(Eliminate, WithoutInputsFoldsItsConstantIntoTheNextBiases) {
  Dice dice;
  for (const char* activation : {"all-relu", "sigmoid", "srelu"}) {
    Network network = make_network(
        {.sizes = {10, 40, 30, 4}, .activation = activation, .densities = {0.05, 0.2, 0.5}}, dice);
    const oracle::Batch batch = make_batch("cross-entropy", 10, 4, 20, dice);
    const auto before = outputs(network, batch);
    const auto events = eliminate_neurons(network, {.percentile = 0});
    EXPECT_LT(events[0].after, 40);  // at half a connection a neuron many have none
    const auto after = outputs(network, batch);
    for (std::size_t b = 0; b < before.size(); ++b)
      for (std::size_t c = 0; c < before[b].size(); ++c)
        EXPECT_NEAR(after[b][c], before[b][c], 2e-6) << activation;
    for (std::size_t l = 0; l + 1 < network.size(); ++l) {
      for (std::int32_t j = 0; j < network.layer(l).outputs(); ++j)
        EXPECT_FALSE(network.layer(l).topology()->row(j).empty());
      std::vector<bool> used(static_cast<std::size_t>(network.layer(l).outputs()), false);
      for (const std::int32_t s : network.layer(l + 1).topology()->columns())
        used[static_cast<std::size_t>(s)] = true;
      EXPECT_TRUE(std::ranges::all_of(used, [](bool u) { return u; }));
    }
  }
}

// The mean outputs of every hidden layer, in double precision: each is the last layer of a shorter network.
std::vector<std::vector<double>> means_of(Network& network, const oracle::Batch& batch) {
  std::vector<std::vector<double>> means;
  for (std::size_t l = 0; l + 1 < network.size(); ++l) {
    oracle::Network shorter = oracle_of(network);
    shorter.layers.resize(l + 1);
    const auto hidden = oracle::evaluate(shorter, batch, {.name = "cross-entropy"}).outputs;
    means.emplace_back(hidden.front().size(), 0.0);
    for (const std::vector<double>& sample : hidden)
      for (std::size_t j = 0; j < sample.size(); ++j)
        means[l][j] += sample[j] / static_cast<double>(hidden.size());
  }
  return means;
}

double squared_distance(const std::vector<std::vector<float>>& a, const std::vector<std::vector<float>>& b) {
  double sum = 0.0;
  for (std::size_t s = 0; s < a.size(); ++s)
    for (std::size_t c = 0; c < a[s].size(); ++c) sum += (a[s][c] - b[s][c]) * (a[s][c] - b[s][c]);
  return sum;
}

TEST(Eliminate, WithMeansStaysNearerToTheWholeNetwork) {
  for (const char* activation : {"all-relu", "sigmoid", "gelu"}) {
    Dice dice;
    Network whole =
        make_network({.sizes = {20, 40, 30, 5}, .activation = activation, .densities = {0.4}}, dice);
    const oracle::Batch batch = make_batch("cross-entropy", 20, 5, 64, dice);
    const auto wanted = outputs(whole, batch);
    const auto means = means_of(whole, batch);
    Network without = without_neurons(whole, all_alive(whole)),
            with = without_neurons(whole, all_alive(whole));
    (void)eliminate_neurons(without, {.percentile = 25});
    (void)eliminate_neurons(with, {.percentile = 25, .means = means});
    EXPECT_EQ(with.layer(0).options().neurons, without.layer(0).options().neurons);
    EXPECT_LT(squared_distance(outputs(with, batch), wanted),
              0.8 * squared_distance(outputs(without, batch), wanted))
        << activation;
  }
}

TEST(Eliminate, WithMeansChangesNothingWhereNeuronsNeverChange) {
  Dice dice;
  Network network =
      make_network({.sizes = {20, 40, 30, 5}, .activation = "sigmoid", .densities = {0.4}}, dice);
  // A quarter of each hidden layer looks at nothing, by weights of 0, and says sigmoid(bias).
  for (std::size_t l = 0; l < 2; ++l)
    for (std::int32_t j = 0; j < network.layer(l).outputs() / 4; ++j) {
      const auto& row_ptr = network.layer(l).topology()->row_ptr();
      for (auto k = row_ptr[static_cast<std::size_t>(j)]; k < row_ptr[static_cast<std::size_t>(j) + 1]; ++k)
        network.layer(l).weight().value[static_cast<std::size_t>(k)] = 0.0f;
    }
  const oracle::Batch batch = make_batch("cross-entropy", 20, 5, 33, dice);
  const auto before = outputs(network, batch);
  const auto means = means_of(network, batch);
  const auto events = eliminate_neurons(network, {.percentile = 25, .cascade = false, .means = means});
  EXPECT_EQ(events[0].after, 30);
  EXPECT_EQ(events[1].after, 23);
  const auto after = outputs(network, batch);
  for (std::size_t b = 0; b < before.size(); ++b)
    for (std::size_t c = 0; c < before[b].size(); ++c) EXPECT_NEAR(after[b][c], before[b][c], 2e-6);
}

TEST(Eliminate, LeavesConstantsInTheAveragesOfBiasesToo) {
  Dice dice;
  Network network =
      make_network({.sizes = {10, 40, 4}, .activation = "sigmoid", .densities = {0.05, 0.5}}, dice);
  const std::vector<std::vector<double>> means(1, std::vector<double>(40, 0.25));
  for (Parameter* parameter : network.parameters())  // the averages are twice the values
    for (const float value : parameter->value) parameter->average.push_back(2.0f * value);
  Network doubled = without_neurons(network, all_alive(network));
  for (Parameter* parameter : doubled.parameters()) parameter->value = parameter->average;
  for (const bool fold : {false, true}) {
    Network small = without_neurons(network, all_alive(network)),
            wanted = without_neurons(doubled, all_alive(doubled));
    ImportanceOptions options{.percentile = fold ? 25.0 : 0.0, .cascade = !fold};
    if (fold) options.means = means;
    EXPECT_LT(eliminate_neurons(small, options)[0].after, 40);
    (void)eliminate_neurons(wanted, options);
    const Parameter &found = small.layer(1).bias(), &of_doubled = wanted.layer(1).bias();
    ASSERT_EQ(found.average.size(), 4u);
    for (std::size_t o = 0; o < 4; ++o) EXPECT_FLOAT_EQ(found.average[o], of_doubled.value[o]);
  }
}

TEST(Eliminate, RefusesMeansOfAnotherNetwork) {
  Dice dice;
  Network network = make_network({.sizes = {10, 20, 20, 3}, .densities = {0.2}}, dice);
  const std::vector<std::vector<double>> few{std::vector<double>(20)},
      other{std::vector<double>(20), std::vector<double>(19)};
  EXPECT_THROW(eliminate_neurons(network, {.means = few}), std::invalid_argument);
  EXPECT_THROW(eliminate_neurons(network, {.means = other}), std::invalid_argument);
}

TEST(Eliminate, HonoursCountsWhateverTheStrengths) {
  Dice dice;
  const auto left = [&](ImportanceOptions options) {
    Network network = make_network({.sizes = {10, 40, 20, 4}, .densities = {1.0}, .dense = true}, dice);
    for (std::size_t l = 0; l < network.size(); ++l)
      std::ranges::fill(network.layer(l).weight().value, 0.5f);  // all strengths equal
    const auto events = eliminate_neurons(network, options);
    return std::pair{events[0].after, events[1].after};
  };
  EXPECT_EQ(left({.percentile = 25}), (std::pair<std::int64_t, std::int64_t>{30, 15}));
  EXPECT_EQ(left({.percentile = 0}), (std::pair<std::int64_t, std::int64_t>{40, 20}));
  EXPECT_EQ(left({.percentile = 100}), (std::pair<std::int64_t, std::int64_t>{1, 1}));
  EXPECT_EQ(left({.percentile = 100, .min_neurons = 7}), (std::pair<std::int64_t, std::int64_t>{7, 7}));
  EXPECT_EQ(left({.percentile = 100, .min_neurons = 0.25}), (std::pair<std::int64_t, std::int64_t>{10, 5}));
}

TEST(Eliminate, NeverLeavesALayerWithFewerNeuronsThanAskedForByTheCascade) {
  Dice dice;
  for (int trial = 0; trial < 50; ++trial) {
    Network network = make_network({.sizes = {10, 20, 20, 3}, .densities = {0.02, 0.02, 0.05}}, dice);
    for (const LayerElimination& event : eliminate_neurons(network, {.percentile = 50, .min_neurons = 6}))
      EXPECT_GE(event.after, 6);
  }
}

TEST(Eliminate, KnowsEveryStrength) {
  // 1 input, 3 neurons, 1 output: in 3, 2, 1; out 1, 2, 30.
  const auto survivor = [](std::string_view strength) {
    std::vector<std::unique_ptr<Layer>> layers;
    layers.push_back(
        make_sparse_layer(LayerOptions{.index = 0, .inputs = 1, .outputs = 3}, full_topology(3, 1)));
    layers.push_back(
        make_sparse_layer(LayerOptions{.index = 1, .inputs = 3, .outputs = 1}, full_topology(1, 3)));
    Network network(std::move(layers));
    network.layer(0).weight().value = {3, -2, 1};
    network.layer(1).weight().value = {1, 2, -30};
    (void)eliminate_neurons(network,
                            {.percentile = 34, .strength = &find_name(strengths(), "test", strength)});
    return network.layer(0).options().neurons;
  };
  EXPECT_EQ(survivor("in"), (std::vector<std::uint32_t>{0, 1}));
  EXPECT_EQ(survivor("out"), (std::vector<std::uint32_t>{1, 2}));
  EXPECT_EQ(survivor("sum"), (std::vector<std::uint32_t>{1, 2}));  // 4, 4, 31: of a tie the lower number goes
  EXPECT_EQ(survivor("product"), (std::vector<std::uint32_t>{1, 2}));
}

TEST(PrunedAsPublished, NeuronsLoseTheirInputsAndMostGrowAgainAtOnce) {
  Dice dice;
  Network network = make_network({.sizes = {200, 300, 300, 10}, .densities = {0.1}}, dice);
  const std::int64_t pruned = prune_as_published(network, 20);
  EXPECT_GT(pruned, 0);
  std::vector<std::int32_t> empty;
  for (std::int32_t j = 0; j < 300; ++j)
    if (network.layer(0).topology()->row(j).empty()) empty.push_back(j);
  EXPECT_EQ(empty.size(), 60u);
  const std::int64_t left = network.layer(0).connections();
  (void)evolve(network, set_rule(), {.seed = 1, .step = 1});
  EXPECT_EQ(network.layer(0).connections(), left);
  EXPECT_EQ(network.layer(0).outputs(), 300);
  const auto revived = std::ranges::count_if(
      empty, [&](std::int32_t j) { return !network.layer(0).topology()->row(j).empty(); });
  EXPECT_GT(static_cast<double>(revived), 0.95 * 60);
}

}  // namespace
}  // namespace tulle
