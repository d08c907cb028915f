#include "tulle/train/late_gradient.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tulle/base/random.h"
#include "tulle/evolve/evolve.h"
#include "tulle/evolve/importance.h"
#include "tulle/train/modes.h"
#include "tulle/train/modes_testing.h"

namespace tulle::testing {
namespace {

// A gradient that tells where it came from: for a connection its original cell, for others their neuron.
std::vector<std::vector<float>> told_by_place(Network& network) {
  std::vector<std::vector<float>> gradients;
  for (std::size_t l = 0; l < network.size(); ++l) {
    const Layer& layer = network.layer(l);
    for (Parameter* parameter : network.layer(l).parameters()) {
      std::vector<float>& gradient = gradients.emplace_back(parameter->value.size());
      for (std::size_t k = 0; k < gradient.size(); ++k) {
        std::uint64_t place = 0;
        if (parameter->kind == Parameter::Kind::kWeight)
          place = network.original_key(l, layer.topology() != nullptr ? layer.topology()->keys()[k] : k);
        else
          place = layer.original_neuron(static_cast<std::int32_t>(k));
        gradient[k] = static_cast<float>(place + 1);
      }
    }
  }
  return gradients;
}

TEST(LateGradient, KeepsTheEntriesOfCellsAndNeuronsThatAreStillThere) {
  const Dataset data = many_data();
  tulle::Run run = start_run(config_of("none", 1), data);
  Network& network = run.model.network;
  const std::vector<KnownLayer> known = known_layers(network);
  const std::vector<std::vector<float>> late = told_by_place(network);
  std::vector<std::set<std::uint64_t>> cells;  // that were known, by their original keys
  for (std::size_t l = 0; l < network.size(); ++l) {
    std::set<std::uint64_t>& of = cells.emplace_back();
    if (const Topology* const topology = network.layer(l).topology())
      for (const std::uint64_t key : topology->keys()) of.insert(network.original_key(l, key));
  }
  // Neurons go, connections change, and both once more: a gradient of three events ago.
  const std::unique_ptr<Optimizer> optimizer = make_optimizer(run.config.train);
  for (const double percentile : {25.0, 15.0}) {
    (void)eliminate_neurons(network, {.percentile = percentile});
    (void)evolve(network, evolution_of(run.config),
                 {.seed = 1, .step = 5, .zeta = 0.3, .learning_rate = 0.1, .optimizer = optimizer.get()});
  }
  ASSERT_LT(network.layer(0).outputs(), network.layer(0).original_outputs());
  put_late(known, late, network);
  const std::vector<std::vector<float>> there = told_by_place(network);
  std::size_t p = 0;
  std::int64_t zeros = 0, kept = 0;
  for (std::size_t l = 0; l < network.size(); ++l) {
    const Layer& layer = network.layer(l);
    for (const Parameter* parameter : network.layer(l).parameters()) {
      const std::vector<float>& wanted = there[p++];
      for (std::size_t k = 0; k < wanted.size(); ++k) {
        const bool grown = parameter->kind == Parameter::Kind::kWeight && layer.topology() != nullptr &&
                           !cells[l].contains(network.original_key(l, layer.topology()->keys()[k]));
        ASSERT_EQ(parameter->gradient[k], grown ? 0.0f : wanted[k]) << parameter->name << ' ' << k;
        ++(grown ? zeros : kept);
      }
    }
  }
  EXPECT_GT(zeros, 0);
  EXPECT_GT(kept, 0);
}

Config losing_neurons(int workers) {
  Config config = config_of("wasap", workers);
  config.train.batch_size = 16;
  config.train.epochs = 5;
  config.parallel.order = "round-robin";
  config.evolve.importance_percentile = 20.0;
  config.evolve.importance_start = 1;
  config.evolve.importance_every = "1 epoch";
  return config;
}

TEST(WasapThatLosesNeurons, OfOneWorkerIsTrainingAloneBitForBit) {
  const Dataset data = many_data();
  for (const char* form : {"eliminate", "published"}) {
    Config config = losing_neurons(1);
    config.evolve.importance_form = form;
    config.parallel.phase1 = 1.0;
    Config alone = config;
    alone.parallel.mode = "none";
    const Outcome worker = outcome_of(config, data), sequential = outcome_of(alone, data);
    EXPECT_EQ(losses_of(worker.diary), losses_of(sequential.diary)) << form;
    EXPECT_EQ(worker.bits == sequential.bits, true) << form;
  }
}

TEST(WasapThatLosesNeurons, IsReproducibleAndAveragesTheSmallerNet) {
  const Dataset data = many_data();
  for (const char* activation : {"all-relu", "srelu"}) {
    Config config = losing_neurons(3);
    config.model.activation = activation;
    tulle::Run run = start_run(config, data);
    Diary diary;
    Signals none;
    ASSERT_EQ(train(run, data, nullptr, diary, none), Ending::kFinished);
    EXPECT_LT(run.model.network.layer(0).outputs(), 24);
    EXPECT_LT(run.model.network.layer(1).outputs(), 16);
    const Bits bits = bits_of(run.model.network);
    for (int again = 0; again < 2; ++again) EXPECT_EQ(outcome_of(config, data).bits == bits, true);
    // The second phase has as many connections as the first ended with, and no eliminations.
    EXPECT_EQ(run.model.network.connections(), diary.epochs[4].nnz);
  }
}

}  // namespace
}  // namespace tulle::testing
