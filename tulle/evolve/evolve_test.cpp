#include "tulle/evolve/evolve.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <map>

#include "tulle/base/half.h"
#include "tulle/base/name_table.h"
#include "tulle/base/parallel.h"
#include "tulle/evolve/rule.h"
#include "tulle/evolve/test_layer.h"
#include "tulle/nn/test_network.h"
#include "tulle/optim/optimizer.h"
#include "tulle/sparse/test_statistics.h"

namespace tulle {

MakeOptimizer make_adam;

namespace {

WeightLaw law_of(std::string_view name, bool sparse_fan = false) {
  return {.law = &find_name(weight_inits(), "test", name), .sparse_fan = sparse_fan};
}

/// All a parameter remembers of one connection, as bits.
struct Memory {
  std::uint32_t value, gradient, m1, m2;
  int age;
  bool operator==(const Memory&) const = default;
};

std::uint32_t bits(const AlignedVector<float>& array, std::size_t k) {
  return array.empty() ? 0u : std::bit_cast<std::uint32_t>(array[k]);
}

Memory memory_of(const Parameter& p, std::size_t k) {
  return {bits(p.value, k), bits(p.gradient, k), bits(p.m1, k), bits(p.m2, k), p.age.empty() ? 0 : p.age[k]};
}

/// What every connection of a layer remembers, by its cell.
std::map<std::uint64_t, Memory> memories_of(const Layer& layer) {
  std::map<std::uint64_t, Memory> memories;
  const std::vector<std::uint64_t> keys = layer.topology()->keys();
  for (std::size_t k = 0; k < keys.size(); ++k) memories[keys[k]] = memory_of(layer.weight(), k);
  return memories;
}

std::vector<Memory> all_of(const Parameter& parameter) {
  std::vector<Memory> all;
  for (std::size_t k = 0; k < parameter.value.size(); ++k) all.push_back(memory_of(parameter, k));
  return all;
}

/// A network some steps into its training with adam, so that every state array is in use.
Network trained_network(const NetworkSpec& spec, Dice& dice, std::string_view optimizer_name = "adam") {
  Network network = make_network(spec, dice);
  const auto optimizer = find_name(optimizers(), "test", optimizer_name).make({});
  for (Parameter* parameter : network.parameters()) optimizer->prepare(*parameter);
  oracle::Batch batch = make_batch("cross-entropy", spec.sizes.front(), spec.sizes.back(), 20, dice);
  batch.training = true;
  network.keep_errors(true);
  for (int t = 0; t < 3; ++t) {
    (void)run_network(network, batch, {.name = "cross-entropy"}, 16);
    for (Parameter* parameter : network.parameters()) optimizer->step(*parameter, 0.01f);
  }
  return network;
}

const NetworkSpec kSpec{.sizes = {40, 50, 30, 10}, .densities = {0.3}};

Evolution evolution_of(std::string_view drop, std::string_view grow, const WeightLaw& law) {
  Evolution how;
  how.drop = &find_name(drop_rules(), "test", drop);
  how.grow = &find_name(grow_rules(), "test", grow);
  how.law = law;
  return how;
}

/// The rules that change something.
std::vector<RuleInfo> active_rules() {
  std::vector<RuleInfo> active;
  for (const RuleInfo& rule : rules())
    if (!rule.drop.empty()) active.push_back(rule);
  return active;
}

std::string rule_name(const ::testing::TestParamInfo<RuleInfo>& info) {
  return rule_test_name(info.param.name);
}

class EvolveWith : public ::testing::TestWithParam<RuleInfo> {
 protected:
  void TearDown() override { set_thread_count(0); }
  static std::vector<LayerEvolution> evolve(Network& network, const WeightLaw& law, std::uint64_t seed,
                                            std::uint32_t step) {
    const auto optimizer = make_adam({});
    return tulle::evolve(network, evolution_of(GetParam().drop, GetParam().grow, law),
                         {.seed = seed, .step = step, .optimizer = optimizer.get()});
  }
};

TEST_P(EvolveWith, SurvivorsKeepAllTheyRememberBitForBitAndGrownConnectionsRememberNothing) {
  for (const char* optimizer : {"adam", "sgd"}) {
    Dice dice;
    Network network = trained_network(kSpec, dice, optimizer);
    std::vector<std::map<std::uint64_t, Memory>> before;
    for (std::size_t l = 0; l < network.size(); ++l) before.push_back(memories_of(network.layer(l)));
    const auto events = evolve(network, law_of("normal"), 5, 1);
    ASSERT_EQ(events.size(), 2u);
    for (const LayerEvolution& event : events) {
      // Normal start values are never exactly those of a trained connection, so that a cell which was dropped
      // and grew again is told by its value.
      std::int64_t kept = 0, grown = 0;
      for (const auto& [key, now] : memories_of(network.layer(event.layer))) {
        const auto old = before[event.layer].find(key);
        if (old != before[event.layer].end() && now.value == old->second.value) {
          ++kept;
          EXPECT_EQ(now, old->second) << optimizer;
        } else {
          ++grown;
          EXPECT_EQ(now, (Memory{now.value, 0, 0, 0, 0})) << optimizer;
        }
      }
      EXPECT_EQ(grown, event.grown);
      EXPECT_EQ(kept, event.before - event.dropped);
    }
  }
}

TEST_P(EvolveWith, ReportsWhatItDidAndKeepsTheNumberOfConnections) {
  Dice dice;
  Network network = trained_network(kSpec, dice);
  const auto events = evolve(network, law_of("he-uniform"), 5, 1);
  ASSERT_EQ(events.size(), 2u);
  for (std::size_t l = 0; l < 2; ++l) {
    EXPECT_EQ(events[l].layer, l);
    EXPECT_EQ(events[l].before, l == 0 ? 600 : 450);
    EXPECT_EQ(events[l].after, events[l].before);
    EXPECT_EQ(events[l].dropped, events[l].grown);
    EXPECT_NEAR(static_cast<double>(events[l].grown), 0.3 * static_cast<double>(events[l].before), 3);
    EXPECT_EQ(network.layer(l).connections(), events[l].after);
    EXPECT_EQ(network.layer(l).topology()->nnz(), events[l].after);
  }
}

TEST_P(EvolveWith, LeavesTheLastLayerDenseLayersAndBiasesAlone) {
  Dice dice;
  std::vector<std::unique_ptr<Layer>> layers;
  const auto sparse = [&](std::int32_t index, std::int32_t inputs, std::int32_t outputs) {
    const LayerOptions options{
        .index = index, .inputs = inputs, .outputs = outputs, .activation = "srelu", .seed = 1};
    layers.push_back(make_sparse_layer(
        options, random_topology(outputs, inputs, inputs * outputs / 3, {.seed = dice.below(~0ull)})));
  };
  sparse(0, 20, 30);
  layers.push_back(std::make_unique<DenseLinear>(LayerOptions{.index = 1, .inputs = 30, .outputs = 15}));
  sparse(2, 15, 9);
  Network network(std::move(layers));
  network.keep_errors(true);
  (void)run_network(network, make_batch("cross-entropy", 20, 9, 20, dice), {.name = "cross-entropy"}, 16);
  const auto optimizer = make_adam({});
  for (Parameter* parameter : network.parameters()) {
    optimizer->prepare(*parameter);
    for (float& v : parameter->value) v = dice.value();
    for (float& g : parameter->gradient) g = dice.value();
    optimizer->step(*parameter, 0.01f);
  }
  std::map<std::string, std::vector<Memory>> before;
  for (const Parameter* parameter : network.parameters()) before[parameter->name] = all_of(*parameter);
  const Topology first = *network.layer(0).topology(), last = *network.layer(2).topology();

  const auto events = evolve(network, law_of("he-uniform"), 5, 1);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].layer, 0u);
  EXPECT_NE(*network.layer(0).topology(), first);
  EXPECT_EQ(*network.layer(2).topology(), last);
  for (const Parameter* parameter : network.parameters()) {
    if (parameter->name == "layers.0.weight") continue;
    EXPECT_EQ(all_of(*parameter), before[parameter->name]) << parameter->name;
  }
}

TEST_P(EvolveWith, GivesTheSameForAnyThreadCountAndAnotherForAnotherEventOrSeed) {
  struct Result {
    std::vector<Topology> topologies;
    std::vector<float> values;
    bool operator==(const Result&) const = default;
  };
  const auto evolved = [&](int threads, std::uint64_t seed, std::uint32_t event) {
    set_thread_count(threads);
    Dice dice;
    Network network = trained_network(kSpec, dice);
    (void)evolve(network, law_of("he-uniform"), seed, event);
    Result result{{}, values_of(network)};
    for (std::size_t l = 0; l < network.size(); ++l)
      result.topologies.push_back(*network.layer(l).topology());
    return result;
  };
  const Result one = evolved(1, 5, 1);
  for (const int threads : {2, 3, 8}) EXPECT_EQ(evolved(threads, 5, 1), one) << threads << " threads";
  if (find_name(grow_rules(), "test", GetParam().grow).every_cell) return;  // nothing random about it
  EXPECT_NE(evolved(1, 5, 2), one);
  EXPECT_NE(evolved(1, 6, 1), one);
}

TEST_P(EvolveWith, NetworkComputesWithItsNewConnections) {
  Dice dice;
  Network network =
      trained_network({.sizes = {20, 25, 15, 4}, .activation = "tanh", .densities = {0.3}}, dice);
  oracle::Batch batch = make_batch("cross-entropy", 20, 4, 30, dice);
  batch.training = true;
  const oracle::Loss loss{.name = "cross-entropy"};
  for (const std::uint32_t event : {1u, 2u, 3u}) {
    (void)evolve(network, law_of("he-uniform"), 5, event);
    EXPECT_TRUE(equals_oracle(network, run_network(network, batch, loss, 32),
                              oracle::evaluate(oracle_of(network), batch, loss), 1e-5))
        << "event " << event;
  }
}

TEST_P(EvolveWith, EndsOnLayersThatAreAlmostFull) {
  Dice dice;
  Network network = trained_network({.sizes = {100, 100, 100, 5}, .densities = {0.999, 0.9999, 0.5}}, dice);
  const auto events = evolve(network, law_of("he-uniform"), 5, 1);
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(network.layer(0).connections(), 9'990);
  EXPECT_EQ(network.layer(1).connections(), 9'999);
}

INSTANTIATE_TEST_SUITE_P(Rules, EvolveWith, ::testing::ValuesIn(active_rules()), rule_name);

// What a network of two evolving layers looks like before and after one event.
class EvolveTogether : public ::testing::Test {
 protected:
  Network network(std::vector<double> densities = {0.3}) {
    return trained_network({.sizes = {40, 50, 30, 10}, .densities = std::move(densities)}, dice_, "sgd");
  }
  std::vector<LayerEvolution> evolve(Network& network, const Evolution& how, EvolveEvent event = {}) {
    event.seed = 5, event.step = 1, event.optimizer = optimizer_.get();
    return tulle::evolve(network, how, event);
  }
  Dice dice_;
  std::unique_ptr<Optimizer> optimizer_ = find_name(optimizers(), "test", "sgd").make({});
};

TEST_F(EvolveTogether, GlobalScopeDropsTheWeakestOfAllLayers) {
  Network net = network();
  for (float& w : net.layer(1).weight().value) w *= 100.0f;  // by far the stronger layer
  Evolution how = evolution_of("magnitude", "random", law_of("zero"));
  how.global = true;
  const auto events = evolve(net, how, {.zeta = 0.3});
  EXPECT_EQ(events[0].dropped + events[1].dropped, share_of(0.3, 600 + 450));
  EXPECT_GT(events[0].dropped, 300);
  EXPECT_LT(events[1].dropped, 10);
}

TEST_F(EvolveTogether, GlobalScopeLeavesEveryLayerItsLeastConnections) {
  Network net = network();
  for (float& w : net.layer(1).weight().value) w *= 100.0f;
  Evolution how = evolution_of("magnitude", "none", law_of("zero"));
  how.global = true;
  how.min_links = 40;
  const auto events = evolve(net, how, {.zeta = 0.9});
  EXPECT_EQ(events[0].after, 40);
  EXPECT_GE(events[1].after, 40);
}

TEST_F(EvolveTogether, RedistributionMovesConnectionsToTheHeavierLayer) {
  for (const RedistributeInfo& by : redistributions()) {
    Network net = network();
    for (float& w : net.layer(1).weight().value) w *= 3.0f;
    Evolution how = evolution_of("magnitude", "random", law_of("zero"));
    how.redistribute = by.by;
    const auto events = evolve(net, how, {.zeta = 0.3});
    EXPECT_EQ(events[0].after + events[1].after, 600 + 450) << by.name;  // the whole keeps its size
    EXPECT_EQ(events[0].dropped, 180) << by.name;
    if (by.by == Redistribute::kNone) {
      EXPECT_EQ(events[0].after, 600);
    }
    if (by.by == Redistribute::kNonzeros) {
      EXPECT_NEAR(static_cast<double>(events[0].grown), 315.0 * 420 / 735, 1.0);
    }
    if (by.by == Redistribute::kMagnitude) {
      EXPECT_LT(events[0].after, 600);
    }
  }
}

TEST_F(EvolveTogether, RedistributionFillsALayerAndGivesTheRestToOthers) {
  Network net = network({0.3, 0.99, 0.3});
  for (float& w : net.layer(1).weight().value) w *= 1000.0f;
  Evolution how = evolution_of("magnitude", "random", law_of("zero"));
  how.redistribute = Redistribute::kMagnitude;
  const auto events = evolve(net, how, {.zeta = 0.3});
  EXPECT_EQ(events[1].after, 1500);  // full
  EXPECT_EQ(events[0].after + events[1].after, events[0].before + events[1].before);
}

TEST_F(EvolveTogether, ScheduledDensityIsHitExactlyAtEveryEvent) {
  for (const char* distribution : {"erk", "uniform"}) {
    Network net = network();
    Evolution how = evolution_of("magnitude", "gradient", law_of("zero"));
    how.distribution = distribution;
    for (const double density : {0.3, 0.25, 0.2, 0.051, 0.051}) {
      const auto events = evolve(net, how, {.zeta = 0.3, .density = density});
      EXPECT_EQ(events[0].after + events[1].after, std::llround(density * (40 * 50 + 50 * 30)));
      EXPECT_EQ(net.layer(0).connections(), events[0].after);
      EXPECT_EQ(events[0].after, events[0].before - events[0].dropped + events[0].grown);
    }
  }
}

TEST_F(EvolveTogether, ScheduledDensityLosesTheWeakest) {
  Network net = network();
  std::vector<float> magnitudes;
  for (const float w : net.layer(0).weight().value) magnitudes.push_back(std::abs(w));
  std::sort(magnitudes.begin(), magnitudes.end());
  Evolution how = evolution_of("magnitude", "none", law_of("zero"));
  how.distribution = "uniform";
  (void)evolve(net, how, {.zeta = 0.0, .density = 0.1});
  ASSERT_EQ(net.layer(0).connections(), 200);
  for (const float w : net.layer(0).weight().value) EXPECT_GE(std::abs(w), magnitudes[400]);
}

TEST_F(EvolveTogether, WhatWasDroppedStaysAwayIfItMayNotRegrow) {
  Network net = network();
  const std::vector<std::uint64_t> old = net.layer(0).topology()->keys();
  Evolution how = evolution_of("magnitude", "random", law_of("zero"));
  how.regrow_dropped = false;
  const auto events = evolve(net, how, {.zeta = 0.5});
  EXPECT_EQ(events[0].regrown, 0);
  std::vector<std::uint64_t> both;
  std::set_intersection(old.begin(), old.end(), events[0].grown_cells.begin(), events[0].grown_cells.end(),
                        std::back_inserter(both));
  EXPECT_TRUE(both.empty());
  EXPECT_EQ(events[0].after, 600);
}

// A layer of 60 connections that shrinks to 40, of which 36 are renewed.
LayerEvolution shrink(bool regrow_dropped, bool stages, std::vector<std::uint64_t>& old) {
  Dice dice;
  Network net = make_network({.sizes = {10, 10, 2}, .densities = {0.6}}, dice);
  old = net.layer(0).topology()->keys();
  Evolution how = evolution_of("magnitude", "random", law_of("zero"));
  how.distribution = "uniform";
  how.regrow_dropped = regrow_dropped;
  how.global = stages;
  return evolve(net, how, {.seed = 3, .step = 5, .zeta = 0.9, .density = 0.4})[0];
}

TEST(ShrinkingLayers, DoNotGrowBackWhatTheyDropIfItMayNotRegrow) {
  for (const bool stages : {false, true}) {
    std::vector<std::uint64_t> old;
    const LayerEvolution event = shrink(false, stages, old);
    EXPECT_EQ(event.dropped, 56);
    EXPECT_EQ(event.after, 40);
    EXPECT_EQ(event.regrown, 0);
    for (const std::uint64_t key : event.grown_cells) EXPECT_FALSE(std::ranges::binary_search(old, key));
  }
}

TEST(ShrinkingLayers, CountAllThatCameBackAsRegrown) {
  for (const bool stages : {false, true}) {
    std::vector<std::uint64_t> old;
    const LayerEvolution event = shrink(true, stages, old);
    EXPECT_EQ(event.after, 40);
    EXPECT_EQ(event.regrown, std::ranges::count_if(event.grown_cells, [&](std::uint64_t key) {
                return std::ranges::binary_search(old, key);
              }));
  }
}

TEST(CompactLayers, WhichGateTheirErrorsAreRefusedToRulesThatLookAtThem) {
  Dice dice;
  Network net = make_network({.sizes = {10, 10, 2}, .densities = {0.6}, .storage = Storage::kCompact}, dice);
  ASSERT_TRUE(net.layer(0).gates_errors());
  try {
    (void)evolve(net, evolution_of("magnitude", "gradient", law_of("zero")), {.zeta = 0.5});
    ADD_FAILURE() << "accepted";
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("use the fast form"), std::string::npos) << error.what();
  }
}

TEST_F(EvolveTogether, TellsWhatCameBackAndWhoIsIsolated) {
  Network net = network({0.02});
  const std::vector<std::uint64_t> old = net.layer(0).topology()->keys();
  const auto events = evolve(net, evolution_of("magnitude", "random", law_of("zero")), {.zeta = 1.0});
  std::vector<std::uint64_t> both;
  std::set_intersection(old.begin(), old.end(), events[0].grown_cells.begin(), events[0].grown_cells.end(),
                        std::back_inserter(both));
  EXPECT_EQ(events[0].regrown, static_cast<std::int64_t>(both.size()));
  std::int64_t no_inputs = 0;
  std::vector<int> out(40, 0);
  for (std::int32_t t = 0; t < 50; ++t) {
    no_inputs += net.layer(0).topology()->row(t).empty();
    for (const std::int32_t s : net.layer(0).topology()->row(t)) ++out[static_cast<std::size_t>(s)];
  }
  EXPECT_EQ(events[0].no_inputs, no_inputs);
  EXPECT_EQ(events[0].no_outputs, std::count(out.begin(), out.end(), 0));
  EXPECT_GT(no_inputs, 0);
}

TEST_F(EvolveTogether, DenserLayersThanAllowedStayAsTheyAre) {
  Network net = network({0.2, 0.6, 0.3});
  Evolution how = evolution_of("set", "random", law_of("zero"));
  how.max_density = 0.5;
  const auto events = evolve(net, how);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].layer, 0u);
}

TEST(Bf16Weights, EvolveAsTheirFloatsWould) {
  for (const char* drop : {"set", "magnitude"}) {
    Dice dice, same;
    NetworkSpec spec{.sizes = {30, 40, 20, 5}, .densities = {0.2}, .storage = Storage::kCompact};
    Network floats = make_network(spec, dice);
    spec.bf16_weights = true;
    Network bf16 = make_network(spec, same);
    for (Network* network : {&floats, &bf16})
      for (std::size_t l = 0; l < network->size(); ++l) {
        Parameter& weight = network->layer(l).weight();
        widen(weight);
        weight.m1.clear();
        for (const float value : weight.value) weight.m1.push_back(0.125f * value);
        narrow(weight);
        if (network == &floats) widen(weight);
      }
    const WeightLaw law = law_of("he-uniform");
    const Evolution how = evolution_of(drop, "random", law);
    const EvolveEvent event{.seed = 3, .step = 4, .zeta = 0.4};
    evolve(floats, how, event);
    evolve(bf16, how, event);
    for (std::size_t l = 0; l < floats.size(); ++l) {
      const Parameter &kept = bf16.layer(l).weight(), &wide = floats.layer(l).weight();
      EXPECT_EQ(*bf16.layer(l).topology(), *floats.layer(l).topology());
      EXPECT_TRUE(kept.value.empty() && kept.m1.empty());
      ASSERT_EQ(kept.bf16_value.size(), wide.value.size());
      for (std::size_t k = 0; k < wide.value.size(); ++k) {
        ASSERT_EQ(kept.bf16_value[k], float_to_bf16(wide.value[k]));
        ASSERT_EQ(bf16_to_float(kept.bf16_m1[k]), wide.m1[k]) << "survivors, and 0 of those that grew";
      }
    }
  }
}

TEST(ChainRemoval, FollowsDeadEndsToAFixedPoint) {
  // 3 inputs, then layers of 3, 3 and 2 neurons. Hidden neuron 2 of the last hidden layer has no output, so
  // what leads to it goes, then hidden neuron 2 of the first has none left; input 0 -> 0 -> 0 lives.
  std::vector<std::unique_ptr<Layer>> layers;
  const auto add = [&](std::int32_t index, std::int32_t in, std::int32_t out,
                       std::vector<std::uint64_t> keys) {
    layers.push_back(make_sparse_layer(LayerOptions{.index = index, .inputs = in, .outputs = out, .seed = 1},
                                       Topology::from_keys(out, in, keys)));
  };
  add(0, 3, 3, {0, 8});     // 0 -> 0, 2 -> 2
  add(1, 3, 3, {0, 4, 8});  // 0 -> 0, 1 -> 1 (from nowhere), 2 -> 2 (to nowhere)
  add(2, 3, 2, {0, 1});     // 0 -> 0, 1 -> 0
  Network network(std::move(layers));
  Evolution how = evolution_of("magnitude", "none", law_of("zero"));
  how.chain_removal = true;
  const auto events = evolve(network, how, {.seed = 1, .step = 1, .zeta = 0.0});
  EXPECT_EQ(network.layer(0).topology()->keys(), (std::vector<std::uint64_t>{0}));
  EXPECT_EQ(network.layer(1).topology()->keys(), (std::vector<std::uint64_t>{0}));
  EXPECT_EQ(events[0].dropped, 1);
  EXPECT_EQ(events[1].dropped, 2);
}

TEST(DenseLayers, DrawDroppedWeightsAnewInPlaceWhereAskedTo) {
  Dice dice;
  std::vector<std::unique_ptr<Layer>> layers;
  layers.push_back(
      std::make_unique<DenseLinear>(LayerOptions{.index = 0, .inputs = 20, .outputs = 10, .seed = 1}));
  layers.push_back(
      std::make_unique<DenseLinear>(LayerOptions{.index = 1, .inputs = 10, .outputs = 4, .seed = 1}));
  Network network(std::move(layers));
  const auto optimizer = make_adam({});
  for (Parameter* parameter : network.parameters()) {
    optimizer->prepare(*parameter);
    for (float& w : parameter->value) w = dice.value();
    for (float& g : parameter->gradient) g = dice.value();
    optimizer->step(*parameter, 0.01f);
  }
  const std::vector<Memory> before = all_of(network.layer(0).weight()),
                            last = all_of(network.layer(1).weight());
  Evolution how = evolution_of("magnitude", "random", law_of("normal"));
  (void)evolve(network, how, {.seed = 1, .step = 1, .zeta = 0.25});
  EXPECT_EQ(all_of(network.layer(0).weight()), before);
  how.dense_layers = true;
  (void)evolve(network, how, {.seed = 1, .step = 1, .zeta = 0.25});
  const std::vector<Memory> after = all_of(network.layer(0).weight());
  int renewed = 0;
  for (std::size_t k = 0; k < after.size(); ++k) {
    if (after[k] == before[k]) continue;
    ++renewed;
    EXPECT_EQ(after[k], (Memory{after[k].value, 0, 0, 0, 0}));
  }
  EXPECT_EQ(renewed, 50);
  EXPECT_EQ(all_of(network.layer(1).weight()), last);
}

// The values of all connections of layer `l` right after everything was renewed, each divided by
// scale(target).
template <class Scale>
std::vector<float> renewed_values(Network& network, std::size_t l, const WeightLaw& law, const Scale& scale) {
  (void)evolve(network, evolution_of("set", "random", law), {.seed = test_seed(), .step = 1, .zeta = 1.0});
  const Layer& layer = network.layer(l);
  std::vector<float> values;
  std::size_t k = 0;
  for (std::int32_t target = 0; target < layer.outputs(); ++target)
    for (std::size_t i = 0; i < layer.topology()->row(target).size(); ++i)
      values.push_back(layer.weight().value[k++] / static_cast<float>(scale(target)));
  return values;
}

double uniform_cdf(double x) { return std::clamp((x + 1) / 2, 0.0, 1.0); }
double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }

class GrownValues : public ::testing::Test {
 protected:
  Dice dice_;
  Network network_ = make_network(
      {.sizes = {100, 200, 150, 4}, .activation = "relu", .densities = {0.1}, .dropout = 0.5}, dice_);
};

TEST_F(GrownValues, FollowHeUniformOfAllInputs) {
  const double limit = std::sqrt(6.0 / 100);
  EXPECT_TRUE(follows_law(renewed_values(network_, 0, law_of("he-uniform"), [&](int) { return limit; }),
                          uniform_cdf));
}

TEST_F(GrownValues, FollowXavier) {
  const double limit = std::sqrt(6.0 / (200 + 150));
  EXPECT_TRUE(
      follows_law(renewed_values(network_, 1, law_of("xavier"), [&](int) { return limit; }), uniform_cdf));
}

TEST_F(GrownValues, FollowTheNormalLaw) {
  EXPECT_TRUE(
      follows_law(renewed_values(network_, 0, law_of("normal"), [](int) { return 0.1; }), normal_cdf));
}

TEST_F(GrownValues, WithSparseFanUseTheDegreeAfterTheGrowth) {
  const auto limit = [&](std::int32_t target) {
    return std::sqrt(6.0 / static_cast<double>(network_.layer(0).topology()->row(target).size()));
  };
  const std::vector<float> values = renewed_values(network_, 0, law_of("he-uniform", true), limit);
  for (const float v : values) EXPECT_LE(std::abs(v), 1.0f + kEpsilon);
  EXPECT_TRUE(follows_law(values, uniform_cdf));
}

TEST_F(GrownValues, OfTheVarianceLawKnowTheActivationAndDropoutBeforeThem) {
  // ReLU passes half the second moment on, dropout 1/2 doubles it: c = 1. Inputs count as 1 too.
  const auto limit = [&](std::size_t l) {
    return [&, l](std::int32_t target) {
      return std::sqrt(3.0 / static_cast<double>(network_.layer(l).topology()->row(target).size()));
    };
  };
  EXPECT_TRUE(follows_law(renewed_values(network_, 0, law_of("var", true), limit(0)), uniform_cdf));
  EXPECT_TRUE(follows_law(renewed_values(network_, 1, law_of("var", true), limit(1)), uniform_cdf));
}

TEST_F(GrownValues, OfTheZeroLawAreZero) {
  for (const float v : renewed_values(network_, 0, law_of("zero"), [](int) { return 1.0; }))
    EXPECT_EQ(v, 0.0f);
}

TEST_F(GrownValues, DifferFromEventToEvent) {
  const auto renewed_at = [&](std::uint32_t event) {
    Dice dice;
    Network network = make_network({.sizes = {10, 10, 2}, .densities = {0.99}}, dice);
    (void)evolve(network, evolution_of("set", "random", law_of("normal")),
                 {.seed = 5, .step = event, .zeta = 1.0});
    return values_of(network);
  };
  const std::vector<float> first = renewed_at(1), second = renewed_at(2);
  int same = 0;
  for (std::size_t k = 0; k < 99; ++k) same += first[k] == second[k];
  EXPECT_EQ(same, 0);
}

}  // namespace
}  // namespace tulle
