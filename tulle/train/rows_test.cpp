// parallel.mode = "rows": a network in parts on several ranks against the same one as a whole. That ranks of
// an MPI job give the same bits is tests/distributed/test_mpi.py's.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <mutex>

#include "tulle/comm/comm_testing.h"
#include "tulle/evolve/evolve.h"
#include "tulle/nn/parts.h"
#include "tulle/optim/optimizer.h"
#include "tulle/train/forecast.h"
#include "tulle/train/modes.h"
#include "tulle/train/modes_testing.h"
#include "tulle/train/plan.h"
#include "tulle/train/plan_ranks.h"

namespace tulle::testing {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// 12-200-150-3: sparse, sparse, dense (its three outputs are one tile), of which 200 and 150 can be cut
// anywhere.
Config rows_config(int ranks) {
  Config config = config_of("rows", ranks);
  config.model.hidden = {200, 150};
  config.topology.epsilon = 3.0;
  config.train.batch_size = 48;
  return config;
}

// The bits of all ranks' parts, put together again on rank 0.
Bits bits_of_all(Network& part) {
  if (part.spread() == nullptr) return bits_of(part);
  std::optional<Network> whole = whole_of(part);
  return whole ? bits_of(*whole) : Bits{};
}

// Of every rank, one after the other.
void on_parts(const Config& config, const Dataset& data, int ranks,
              const std::function<void(tulle::Run&, Communicator&)>& work) {
  const auto thrown = on_ranks(ranks, [&](Communicator& comm) {
    tulle::Run run = start_run(config, data, {comm.rank(), comm.size()});
    if (run.model.network.spread() != nullptr) run.model.network.spread()->connect(comm);
    work(run, comm);
  });
  EXPECT_THAT(thrown, Each(IsEmpty()));
}

struct RanksOf : ::testing::TestWithParam<int> {};

TEST_P(RanksOf, RowsStartWithTheirPartsOfTheWholeBitForBit) {
  const Dataset data = many_data();
  for (const auto& [pattern, repair, fan, numbering] : {std::tuple{"uniform", "none", "dense", "drawn"},
                                                        {"watts-strogatz", "none", "sparse", "drawn"},
                                                        {"uniform", "both", "dense", "drawn"},
                                                        {"uniform", "none", "sparse", "by-source"}}) {
    Config config = rows_config(GetParam());
    config.topology.numbering = numbering;
    if (std::string_view(pattern) != "uniform") config.topology.pattern = pattern;
    config.topology.repair_isolated = repair;
    config.topology.weight_init = "xavier";
    config.topology.fan = fan;
    tulle::Run whole = start_run(config, data);
    const Bits wanted = bits_of(whole.model.network);
    on_parts(config, data, GetParam(), [&, name = std::string(pattern)](tulle::Run& run, Communicator& comm) {
      Network& network = run.model.network;
      EXPECT_EQ(network.connections(), whole.model.network.connections());
      EXPECT_EQ(network.cells(), whole.model.network.cells());
      const Bits found = bits_of_all(network);
      EXPECT_EQ(comm.rank() > 0 || found == wanted, true) << name;
    });
  }
}

TEST_P(RanksOf, RowsHoldTheirShareOfTheConnections) {
  const Dataset data = many_data();
  Config config = rows_config(GetParam());
  config.model.hidden = {3000, 3000};
  config.topology.epsilon = 30.0;
  const std::int64_t whole = start_run(config, data).model.network.connections();
  on_parts(config, data, GetParam(), [&](tulle::Run& run, Communicator&) {
    std::int64_t own = 0;
    for (std::size_t l = 0; l < run.model.network.size(); ++l)
      own += std::ssize(run.model.network.layer(l).weight().value);
    EXPECT_NEAR(static_cast<double>(own) / static_cast<double>(whole), 1.0 / GetParam(), 0.1);
  });
}

TEST_P(RanksOf, RowsComputeTheOutputsOfTheWholeBitForBit) {
  const Dataset data = many_data();
  for (const char* activation : {"all-relu", "tanh"})
    for (const bool dense : {false, true}) {
      Config config = rows_config(GetParam());
      config.model.activation = activation;
      config.model.dropout = 0.3;
      if (dense) config.topology.epsilon = 1e6;
      tulle::Run whole = start_run(config, data);
      Replica replica(whole, data);
      Loader loader = replica.make_loader();
      loader.start_epoch(0, true);
      const Batch batch = replica.get(loader, 0);
      const Pass pass{.training = true, .seed = whole.model.seed, .step = 5};
      const Panels<const float> wanted = whole.model.network.forward(pass, batch.inputs);
      on_parts(config, data, GetParam(), [&](tulle::Run& run, Communicator&) {
        const Panels<const float> found = run.model.network.forward(pass, batch.inputs);
        for (std::int32_t s = 0; s < wanted.batch; ++s)
          for (std::int32_t j = 0; j < wanted.features; ++j)
            ASSERT_EQ(found.at(s, j), wanted.at(s, j)) << activation << dense;
      });
    }
}

// Trains with the network in parts; the result as one.
tulle::Run trained_rows(const Config& config, const Dataset& data, Diary& diary) {
  tulle::Run run = start_run(config, data);
  Signals none;
  EXPECT_EQ(train(run, data, nullptr, diary, none), Ending::kFinished);
  return run;
}

double relative_difference(Network& a, Network& b) {
  double largest = 0.0;
  const auto p = a.parameters(), q = b.parameters();
  for (std::size_t i = 0; i < p.size(); ++i) {
    double norm = 1e-30, difference = 0.0;
    if (p[i]->value.size() != q[i]->value.size()) return 1e9;
    for (std::size_t k = 0; k < p[i]->value.size(); ++k) {
      norm = std::max(norm, std::abs(double{p[i]->value[k]}));
      difference = std::max(difference, std::abs(double{p[i]->value[k]} - double{q[i]->value[k]}));
    }
    largest = std::max(largest, difference / norm);
  }
  return largest;
}

TEST_P(RanksOf, RowsAfterTenStepsHaveTheWeightsOfOneWithinRounding) {
  const Dataset data = many_data();
  for (const char* optimizer : {"set-sgd", "adamw"})
    for (const char* activation : {"all-relu", "sigmoid"}) {
      Config config = rows_config(GetParam()), alone = config_of("none", 1);
      config.model.activation = activation;
      config.evolve.rule = "none";
      config.train.optimizer = optimizer;
      config.train.learning_rate = 0.01;
      config.train.epochs = 10;  // 7 steps each
      config.train.batch_size = 300;
      alone = config;
      alone.parallel.mode = "none";
      alone.parallel.ranks = 1;
      alone.run.storage = "compact";
      Diary diary, of_one;
      tulle::Run parts = trained_rows(config, data, diary), one = trained_rows(alone, data, of_one);
      ASSERT_EQ(parts.state.step, 10);
      EXPECT_LT(relative_difference(parts.model.network, one.model.network), 1e-5) << optimizer << activation;
      EXPECT_EQ(GetParam() > 1 || bits_of(parts.model.network) == bits_of(one.model.network), true);
      EXPECT_NEAR(diary.epochs.back().test_loss.value(), of_one.epochs.back().test_loss.value(), 1e-5);
      EXPECT_EQ(diary.epochs.back().layer_nnz, of_one.epochs.back().layer_nnz);
    }
}

// Many weights are equal here, so that ties have to be broken as in one.
TEST_P(RanksOf, RowsEvolveAsTheWholeDoesBitForBit) {
  const Dataset data = many_data();
  struct Choice {
    const char *rule, *drop, *grow;
    double epsilon, final_density;
  };
  for (const Choice& choice : {Choice{"set", "rule", "rule", 3.0, 0.0},
                               {"set", "magnitude", "random", 3.0, 0.0},
                               {"set", "threshold", "random", 60.0, 0.0},
                               {"set", "set", "none", 3.0, 0.0},
                               {"set", "rule", "rule", 3.0, 0.01}}) {
    Config config = rows_config(GetParam());
    config.evolve.rule = choice.rule;
    config.evolve.drop = choice.drop;
    config.evolve.grow = choice.grow;
    config.evolve.drop_below = 0.2;
    config.evolve.zeta = 0.4;
    config.topology.epsilon = choice.epsilon;
    config.topology.weight_init = "xavier";
    config.topology.fan = "sparse";
    const auto evolve_one = [&](tulle::Run& run) {
      for (Parameter* parameter : run.model.network.parameters()) {
        for (float& value : parameter->value) value = std::round(value * 20.0f) / 20.0f;
        make_optimizer(config.train)->prepare(*parameter);
      }
      EvolveEvent event{.seed = 3, .step = 17, .zeta = config.evolve.zeta};
      if (choice.final_density > 0.0) event.density = choice.final_density;
      return evolve(run.model.network, evolution_of(config), event);
    };
    tulle::Run whole = start_run(config, data);
    const std::vector<LayerEvolution> wanted = evolve_one(whole);
    const Bits bits = bits_of(whole.model.network);
    ASSERT_FALSE(wanted.empty());
    for (const LayerEvolution& layer : wanted) ASSERT_GT(layer.dropped, 0) << layer.layer;
    on_parts(config, data, GetParam(), [&](tulle::Run& run, Communicator& comm) {
      const std::vector<LayerEvolution> found = evolve_one(run);
      ASSERT_EQ(found.size(), wanted.size());
      for (std::size_t i = 0; i < found.size(); ++i) {
        EXPECT_EQ(found[i].before, wanted[i].before);
        EXPECT_EQ(found[i].after, wanted[i].after);
        EXPECT_EQ(found[i].dropped, wanted[i].dropped);
        EXPECT_EQ(found[i].grown, wanted[i].grown);
        EXPECT_EQ(found[i].regrown, wanted[i].regrown);
        EXPECT_EQ(found[i].no_inputs, wanted[i].no_inputs);
        EXPECT_EQ(found[i].no_outputs, wanted[i].no_outputs);
        EXPECT_EQ(run.model.network.connections(found[i].layer), wanted[i].after);
      }
      const Bits all = bits_of_all(run.model.network);
      EXPECT_EQ(comm.rank() > 0 || all == bits, true) << choice.drop << " " << choice.grow;
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, RanksOf, ::testing::Values(1, 2, 3, 5),
                         [](const auto& info) { return std::to_string(info.param); });

TEST(Rows, LearnEvolveAndRepeatThemselvesForAnyNumberOfThreads) {
  const Dataset data = many_data();
  Config config = rows_config(3);
  config.train.epochs = 6;
  Diary diary, again;
  tulle::Run first = trained_rows(config, data, diary);
  EXPECT_LT(diary.epochs.back().train_loss, 0.5 * diary.epochs.front().train_loss);
  EXPECT_FALSE(diary.events.empty());
  for (const EvolveRecord& event : diary.events) EXPECT_EQ(event.after, event.before);
  EXPECT_GT(diary.epochs.back().exploration.value(), diary.epochs.front().exploration.value());
  config.run.threads = 3;
  tulle::Run second = trained_rows(config, data, again);
  EXPECT_EQ(bits_of(first.model.network) == bits_of(second.model.network), true);
}

// Nothing but activations, errors and a word whether to stop: no index of a connection.
TEST(Rows, SendWhatIsForecastToTheByteWhateverTheNumberOfConnections) {
  const Dataset data = many_data();
  for (const double epsilon : {3.0, 30.0}) {
    Config config = rows_config(3);
    config.topology.epsilon = epsilon;
    config.train.batch_size = 300;
    config.evolve.rule = "none";
    RankTask task = rank_task(config, data);
    task.ranks = 3;
    on_parts(config, data, 3, [&](tulle::Run& run, Communicator& comm) {
      Replica replica(run, data);
      const Signals none;
      const auto mode = mode_of(config, 3).make({replica, comm, none});
      mode->start_epoch(0);
      for (int step = 0; step < 4; ++step) {
        replica.prepare_step(0.01);
        const std::uint64_t before = comm.traffic().sent;
        mode->gradients(false);
        replica.step(0.01);
        const auto sent = static_cast<std::int64_t>(comm.traffic().sent - before);
        // The trainer asks whether to save besides: a byte to each of the others.
        EXPECT_TRUE(comm.rank() > 0 || sent + 2 == forecast_rows(task, config.parallel).sent_bytes) << sent;
        ++run.state.step;
      }
    });
  }
}

TEST(Rows, EventsSendCountsAlone) {
  const Dataset data = many_data();
  std::vector<std::uint64_t> sent;
  for (const double epsilon : {0.5, 5.0}) {
    Config config = rows_config(2);
    config.model.hidden = {1000, 1000};
    config.topology.epsilon = epsilon;
    on_parts(config, data, 2, [&](tulle::Run& run, Communicator& comm) {
      const std::uint64_t before = comm.traffic().sent;
      evolve(run.model.network, evolution_of(config), {.seed = 3, .step = 17, .zeta = 0.3});
      if (comm.rank() == 0) sent.push_back(comm.traffic().sent - before);
    });
  }
  // Ten times the connections: as much but for another round of drawing, a word each.
  EXPECT_NEAR(static_cast<double>(sent[0]), static_cast<double>(sent[1]), 100.0);
}

TEST(Rows, GoOnFromACheckpointOnAnyNumberOfRanks) {
  const Dataset data = many_data();
  Config config = rows_config(2);
  Diary diary;
  tulle::Run straight = trained_rows(config, data, diary);
  const TemporaryDirectory folder;
  RunDirectory directory = RunDirectory::open(folder / "run", hasty_file_ops());
  tulle::Run first = start_run(config, data);
  diary.at_epoch = [](const EpochRecord& record) { return record.epoch < 2; };
  Signals none;
  EXPECT_EQ(train(first, data, &directory, diary, none), Ending::kStopped);
  const std::string checkpoint = directory.checkpoints().front().path;
  LoadedModel saved = load_model(checkpoint);
  EXPECT_EQ(bits_of(saved.model.network) == bits_of(first.model.network), true);
  Observer nobody;
  for (const int ranks : {1, 2, 3}) {
    Config other = config_of("none", ranks);  // the mode is the checkpoint's
    other.model = config.model;
    other.topology = config.topology;
    other.train = config.train;
    tulle::Run second = resume_run(other, data, checkpoint);
    EXPECT_EQ(train(second, data, nullptr, nobody, none), Ending::kFinished);
    // Ranks add errors in other orders; events then may choose another connection.
    if (ranks == 2)
      EXPECT_EQ(bits_of(second.model.network) == bits_of(straight.model.network), true);
    else
      EXPECT_EQ(second.model.network.connections(), straight.model.network.connections());
    EXPECT_NEAR(evaluate(second.model, data.test).loss, evaluate(straight.model, data.test).loss, 1e-3)
        << ranks;
  }
  // Each rank with its part alone, as processes have it.
  Bits bits;
  const auto thrown = on_ranks(2, [&](Communicator& comm) {
    tulle::Run run = resume_run(config, data, checkpoint, {comm.rank(), comm.size()});
    Signals signals;
    Observer observer;
    EXPECT_EQ(train(run, data, nullptr, observer, signals, comm), Ending::kFinished);
    if (comm.rank() == 0) bits = bits_of(run.model.network);
  });
  EXPECT_THAT(thrown, Each(IsEmpty()));
  EXPECT_EQ(bits == bits_of(straight.model.network), true);
}

TEST(Rows, ASignalThatReachesOneRankStopsAllAndRankZeroSaves) {
  const Dataset data = many_data();
  const TemporaryDirectory folder;
  RunDirectory directory = RunDirectory::open(folder / "run", hasty_file_ops());
  const Config config = rows_config(3);
  const auto thrown = on_ranks(3, [&](Communicator& comm) {
    tulle::Run run = start_run(config, data, {comm.rank(), comm.size()});
    Signals signals;
    Diary diary;
    diary.at_batch = [&](const Observer::Batch& batch) {
      if (comm.rank() == 2 && batch.batch == 4) signals.stop = true;
    };
    EXPECT_EQ(train(run, data, comm.rank() == 0 ? &directory : nullptr, diary, signals, comm),
              Ending::kStopped);
    EXPECT_EQ(run.state.step, 5);
    EXPECT_EQ(run.model.network.spread() == nullptr, comm.rank() == 0);
  });
  EXPECT_THAT(thrown, Each(IsEmpty()));
  EXPECT_EQ(directory.checkpoints().front().step, 5);
}

TEST(Rows, AskedToSaveOnOneRankAllDo) {
  const Dataset data = many_data();
  const TemporaryDirectory folder;
  RunDirectory directory = RunDirectory::open(folder / "run", hasty_file_ops());
  Config config = rows_config(3);
  config.train.epochs = 1;
  std::vector<std::int64_t> saved;
  const auto thrown = on_ranks(
      3,
      [&](Communicator& comm) {
        tulle::Run run = start_run(config, data, {comm.rank(), comm.size()});
        Signals signals;
        Diary diary;
        diary.at_batch = [&](const Observer::Batch& batch) {
          if (comm.rank() == 2 && batch.batch == 3) signals.save = true;
        };
        train(run, data, comm.rank() == 0 ? &directory : nullptr, diary, signals, comm);
        for (const CheckpointRecord& save : diary.saves) saved.push_back(save.step);
      },
      /*time_limit=*/5.0);
  EXPECT_THAT(thrown, Each(IsEmpty()));
  EXPECT_EQ(saved, (std::vector<std::int64_t>{3, 7}));
}

TEST(Rows, RefuseWhatPartsCannotDoNamingTheKey) {
  const auto refusal = [](const std::function<void(Config&)>& change) -> std::string {
    Config config = rows_config(2);
    change(config);
    try {
      (void)mode_of(config, 2);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kConfig);
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(refusal([](Config&) {}), "");
  const std::vector<std::pair<const char*, std::function<void(Config&)>>> refused = {
      {"run.storage, found 'fast'", [](Config& c) { c.run.storage = "fast"; }},
      {"run.spill, found 'x'", [](Config& c) { c.run.spill = "x"; }},
      {"model.kind", [](Config& c) { c.model.kind = "smlp"; }},
      {"model.dtype, found 'bf16'", [](Config& c) { c.model.dtype = "bf16"; }},
      {"model.weights, found 'bf16'", [](Config& c) { c.model.weights = "bf16"; }},
      {"topology.window, found 64", [](Config& c) { c.topology.window = 64; }},
      {"model.activation, found 'srelu'", [](Config& c) { c.model.activation = "srelu"; }},
      {"parallel.wire, found 'bf16'", [](Config& c) { c.parallel.wire = "bf16"; }},
      {"train.clip_norm, found 1", [](Config& c) { c.train.clip_norm = 1.0; }},
      {"train.clip_value, found 1", [](Config& c) { c.train.clip_value = 1.0; }},
      {"train.ema_decay, found 0.9", [](Config& c) { c.train.ema_decay = 0.9; }},
      {"evolve.importance_percentile, found 5", [](Config& c) { c.evolve.importance_percentile = 5.0; }},
      {"evolve.drop, found 'relative', expected one of set, magnitude, threshold",
       [](Config& c) { c.evolve.drop = "relative"; }},
      {"evolve.grow, found 'gradient', expected one of random, none",
       [](Config& c) { c.evolve.grow = "gradient"; }},
      {"evolve.scope", [](Config& c) { c.evolve.scope = "global", c.evolve.drop = "magnitude"; }},
      {"evolve.chain_removal", [](Config& c) { c.evolve.chain_removal = true; }},
      {"evolve.redistribute", [](Config& c) { c.evolve.redistribute = "nonzeros"; }},
      {"log.input_links", [](Config& c) { c.log.input_links = true; }},
      {"log.tensorboard", [](Config& c) { c.log.tensorboard = true; }},
      {"checkpoint.best, found 'valid_loss'",
       [](Config& c) { c.data.valid_fraction = 0.1, c.checkpoint.best = "valid_loss"; }}};
  for (const auto& [expected, change] : refused)
    EXPECT_THAT(refusal(change), AllOf(HasSubstr(expected), HasSubstr("parallel.mode = \"rows\"")));
}

TEST(Rows, PlansMemoryThatFallsWithTheNumberOfRanks) {
  const Dataset data = many_data();
  Config config = rows_config(1);
  config.model.hidden = {200'000, 200'000, 200'000, 200'000};
  config.topology.epsilon = 0.5;
  config.train.batch_size = 16;
  const auto item = [&](int ranks, std::string_view name) {
    const Plan plan = make_plan(config, data, ranks);
    EXPECT_EQ(plan.storage, Storage::kCompact);
    return static_cast<double>(std::ranges::find(plan.items, name, &Plan::Item::name)->bytes);
  };
  for (const char* name : {"connections", "weights", "optimizer state", "activations", "errors"})
    EXPECT_NEAR(item(4, name) / item(1, name), 0.25, 0.1) << name;
  // A part also keeps the number of each of its neurons: 4 bytes beside the 8 of bias and momentum.
  EXPECT_NEAR(item(4, "biases") / item(1, "biases"), 0.25 * 12 / 8, 0.01);
  config.parallel.ranks = 4;
  const RanksPlan plan = plan_ranks(config, data, {});
  const auto rows = std::ranges::find(plan.modes, "rows", &ModePlan::mode);
  ASSERT_NE(rows, plan.modes.end());
  EXPECT_EQ(rows->refused, "");
  EXPECT_LT(rows->rank_bytes, std::ranges::find(plan.modes, "sync", &ModePlan::mode)->rank_bytes);
  EXPECT_EQ(plan.rank.total(), rows->rank_bytes);
  config.run.memory_limit = fmt::format("{}", rows->rank_bytes + 1);
  EXPECT_EQ(plan_ranks(config, data, {}).recommended, "rows");
}

}  // namespace
}  // namespace tulle::testing
