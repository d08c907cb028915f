// The promises of reproducibility: the same bits for any number of threads, and for any place where a
// training was stopped and resumed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tulle/evolve/rule.h"
#include "tulle/train/train_testing.h"

namespace tulle::testing {
namespace {

using ::testing::ElementsAre;

// What may differ from training to training without changing how exact it must be.
struct Recipe {
  std::string optimizer;
  std::string update_every;
  std::string rule = "set";
  bool importance = false;
  bool dense = false;  // the middle layer is stored and computed as a dense matrix
  bool averages = false;
  std::int64_t momentum_steps = 10;
  bool stable = false;     // the topology stays from some event on
  bool by_source = false;  // hidden neurons are numbered so

  Config config() const {
    Config config = small_config();
    config.train.optimizer = optimizer;
    config.train.schedule = "cosine";
    config.train.warmup_epochs = 0.5;
    config.evolve.rule = rule;
    config.evolve.update_every = update_every;
    config.evolve.zeta_schedule = rule == "set" ? "constant" : "cosine";
    if (rule == "granet") config.evolve.final_density = 0.1;
    if (rule == "mest") config.evolve.redistribute = "momentum";
    if (rule == "gse") config.evolve.drop = "momentum";
    if (rule == "rigl") config.evolve.scope = "global";
    if (stable) {
      config.evolve.zeta_schedule = "linear";
      config.evolve.stable_events = 3;
      config.evolve.stable_share = 0.85;
    }
    config.evolve.momentum_steps = momentum_steps;
    if (by_source) config.topology.numbering = "by-source";
    if (averages) config.train.ema_decay = 0.8;
    if (importance) {
      config.evolve.importance_percentile = 20.0;
      config.evolve.importance_start = 1;
      config.evolve.importance_every = "1 epoch";
      if (rule == "rigl") config.evolve.fold = "mean";
    }
    if (dense) {
      config.topology.distribution = "explicit";
      config.topology.budgets = {100, 24 * 16, 30};
    }
    return config;
  }
};

void PrintTo(const Recipe& recipe, std::ostream* out) {
  *out << recipe.optimizer << ", " << recipe.rule << " every " << recipe.update_every
       << (recipe.dense ? ", dense" : "");
}

std::vector<Recipe> recipes() {
  std::vector<Recipe> all;
  for (const OptimizerInfo& optimizer : optimizers())
    for (const char* update_every : {"1 epoch", "3 step"})
      all.push_back({.optimizer = std::string(optimizer.name), .update_every = update_every});
  for (const RuleInfo& rule : rules())
    if (rule.name != "set")
      all.push_back({.optimizer = "sgd", .update_every = "2 step", .rule = std::string(rule.name)});
  all.push_back({.optimizer = "adam", .update_every = "1 epoch", .rule = "rigl"});
  all.push_back({.optimizer = "adam", .update_every = "1 step", .stable = true});
  // Scores that are gathered over a part of an epoch, over its end, and while neurons go.
  all.push_back({.optimizer = "adam", .update_every = "1 epoch", .rule = "snfs", .momentum_steps = 3});
  all.push_back({.optimizer = "sgd", .update_every = "5 step", .rule = "snfs", .momentum_steps = 4});
  for (const char* rule : {"none", "set", "rigl", "snfs"})
    all.push_back({.optimizer = "adam", .update_every = "1 epoch", .rule = rule, .importance = true});
  all.push_back({.optimizer = "set-sgd", .update_every = "1 epoch", .dense = true});
  all.push_back({.optimizer = "adam", .update_every = "3 step", .dense = true});
  all.push_back({.optimizer = "adam", .update_every = "3 step", .averages = true});
  all.push_back({.optimizer = "set-sgd", .update_every = "1 epoch", .importance = true, .averages = true});
  all.push_back({.optimizer = "sgd", .update_every = "1 epoch", .dense = true, .averages = true});
  all.push_back({.optimizer = "set-sgd", .update_every = "3 step", .by_source = true});
  return all;
}

class EveryRecipe : public ::testing::TestWithParam<Recipe> {
 protected:
  const Dataset data_ = small_data();
  const Config config_ = GetParam().config();
};

TEST_P(EveryRecipe, GivesTheSameBitsForOneToEightThreads) {
  Bits one;
  for (int threads = 1; threads <= 8; ++threads) {
    const Threads use(threads);
    const Bits bits = trained(start_run(config_, data_), data_);
    if (threads == 1) one = bits;
    EXPECT_EQ(bits == one, true) << threads << " threads";
  }
}

TEST_P(EveryRecipe, GivesTheSameBitsWhetherGradientsAreKeptOrUsedAtOnce) {
  Config kept = config_;
  kept.train.clip_value = 1e30;  // clips nothing
  EXPECT_EQ(trained(start_run(kept, data_), data_) == trained(start_run(config_, data_), data_), true);
}

TEST_P(EveryRecipe, GivesOtherBitsForAnotherSeed) {
  Config other = config_;
  other.run.seed = 2;
  EXPECT_NE(trained(start_run(config_, data_), data_), trained(start_run(other, data_), data_));
}

TEST_P(EveryRecipe, ResumedAtAnyStepWithAnyThreadsGivesTheBitsOfAnUninterruptedTraining) {
  const Bits uninterrupted = trained(start_run(config_, data_), data_);
  const TemporaryDirectory folder;
  Config saving = config_;
  saving.checkpoint.save_every = "1 step";
  saving.checkpoint.keep = 1000;
  {
    RunDirectory directory = RunDirectory::open(folder.path(), hasty_file_ops());
    tulle::Run run = start_run(saving, data_);
    Observer nobody;
    Signals none;
    train(run, data_, &directory, nobody, none);
    EXPECT_EQ(bits_of(run.model.network) == uninterrupted, true) << "saving changed something";
  }
  const std::vector<CheckpointFile> checkpoints = list_checkpoints(folder.path());
  ASSERT_EQ(checkpoints.size(), 12u);
  for (const CheckpointFile& checkpoint : checkpoints) {
    const Threads use(1 + static_cast<int>(checkpoint.step % 3));
    EXPECT_EQ(trained(resume_run(config_, data_, checkpoint.path), data_) == uninterrupted, true)
        << "from step " << checkpoint.step;
  }
}

INSTANTIATE_TEST_SUITE_P(Trainings, EveryRecipe, ::testing::ValuesIn(recipes()), [](const auto& info) {
  return test_title(info.param.optimizer + " " + info.param.update_every + " " + info.param.rule) +
         (info.param.importance ? "_importance" : "") + (info.param.dense ? "_dense" : "") +
         (info.param.averages ? "_averages" : "") + (info.param.stable ? "_stable" : "") +
         (info.param.by_source ? "_by_source" : "");
});

// With means to fold, the last batch is looked at once more before the event, even if no neuron goes.
TEST(FoldedMeans, AreFoundWithoutAStep) {
  const Dataset data = small_data();
  Config config =
      Recipe{.optimizer = "sgd", .update_every = "1 epoch", .rule = "rigl", .importance = true}.config();
  config.evolve.fold = "mean";
  config.evolve.min_neurons = 24;  // all stay
  const Bits used_at_once = trained(start_run(config, data), data);
  config.train.clip_value = 1e30;  // gradients are kept, the step is another call
  EXPECT_EQ(trained(start_run(config, data), data) == used_at_once, true);
}

// Sparse samples: mostly as they are, as panels before the events of a rule that looks at them.
TEST(SparseTraining, GivesTheSameBitsForAnyThreadsAndAfterAnyResume) {
  Dataset data = small_data();
  for (Split* split : {&data.train, &data.test}) {
    Features& inputs = split->inputs;
    inputs.sparse.row_ptr.push_back(0);
    for (std::int64_t s = 0; s < inputs.samples; ++s) {
      for (std::int32_t f = 0; f < inputs.features; ++f)
        if (std::abs(inputs.at(s, f)) > 0.7f) {
          inputs.sparse.columns.push_back(f);
          inputs.sparse.values.push_back(inputs.at(s, f));
        }
      inputs.sparse.row_ptr.push_back(static_cast<std::int64_t>(inputs.sparse.columns.size()));
    }
    inputs.floats.clear();
  }
  data.scaling = fit_scaling("standard", data.train.inputs);
  for (const char* rule : {"set", "rigl"}) {
    Config config = small_config();
    config.evolve.rule = rule;
    config.evolve.update_every = "3 step";
    const Bits whole = trained(start_run(config, data), data);
    for (const int threads : {1, 3}) {
      const Threads use(threads);
      EXPECT_EQ(trained(start_run(config, data), data) == whole, true)
          << rule << ", " << threads << " threads";
    }
    const TemporaryDirectory folder;
    Config saving = config;
    saving.checkpoint.save_every = "1 step";
    saving.checkpoint.keep = 1000;
    RunDirectory directory = RunDirectory::open(folder.path(), hasty_file_ops());
    tulle::Run run = start_run(saving, data);
    Observer nobody;
    Signals none;
    train(run, data, &directory, nobody, none);
    for (const CheckpointFile& checkpoint : list_checkpoints(folder.path()))
      EXPECT_EQ(trained(resume_run(config, data, checkpoint.path), data) == whole, true)
          << rule << ", step " << checkpoint.step;
  }
}

// The whole way through files: stopped by a signal after each batch, resumed by another process.
TEST(StoppedAndResumed, AgainAndAgainTheTrainingWritesTheSameModelAndTheSameRecords) {
  const Dataset data = small_data();
  Config config = small_config();
  config.evolve.update_every = "3 step";
  const TemporaryDirectory folder;
  Observer nobody;
  Signals none;
  {
    RunDirectory directory = RunDirectory::open(folder / "whole", hasty_file_ops());
    tulle::Run run = start_run(config, data);
    train(run, data, &directory, nobody, none);
    save_model(folder / "whole.safetensors", run.model);
  }
  Ending ending = Ending::kStopped;
  for (int starts = 0; ending == Ending::kStopped; ++starts) {
    ASSERT_LT(starts, 20);
    RunDirectory directory = RunDirectory::open(folder / "pieces", hasty_file_ops());
    std::vector<std::string> skipped;
    const auto newest = newest_checkpoint(directory.path(), skipped);
    tulle::Run run = newest ? resume_run(config, data, *newest) : start_run(config, data);
    Signals signals;
    Diary diary;
    diary.at_batch = [&](const Observer::Batch&) { signals.stop = true; };
    ending = train(run, data, &directory, diary, signals);
    if (ending == Ending::kFinished) save_model(folder / "pieces.safetensors", run.model);
  }
  EXPECT_EQ(read_text(folder / "whole.safetensors") == read_text(folder / "pieces.safetensors"), true);

  const RunRecord whole = read_metrics(folder / "whole"), pieces = read_metrics(folder / "pieces");
  ASSERT_EQ(pieces.epochs.size(), whole.epochs.size());
  for (std::size_t i = 0; i < whole.epochs.size(); ++i) {
    EXPECT_EQ(pieces.epochs[i].step, whole.epochs[i].step);
    EXPECT_EQ(pieces.epochs[i].train_loss, whole.epochs[i].train_loss);
    EXPECT_EQ(pieces.epochs[i].train_accuracy, whole.epochs[i].train_accuracy);
    EXPECT_EQ(pieces.epochs[i].test_loss, whole.epochs[i].test_loss);
    EXPECT_EQ(pieces.epochs[i].learning_rate, whole.epochs[i].learning_rate);
  }
  ASSERT_EQ(pieces.evolutions.size(), whole.evolutions.size());
  for (std::size_t i = 0; i < whole.evolutions.size(); ++i) {
    EXPECT_EQ(pieces.evolutions[i].step, whole.evolutions[i].step);
    EXPECT_EQ(pieces.evolutions[i].grown, whole.evolutions[i].grown);
    EXPECT_EQ(pieces.evolutions[i].explored, whole.evolutions[i].explored);
  }
}

// A training that died before it could save did more than its newest checkpoint knows.
TEST(StoppedAndResumed, RecordsOfLostStepsAreNotKeptTwice) {
  const Dataset data = small_data();
  Config config = small_config();
  config.checkpoint.save_every = "5 step";
  config.evolve.update_every = "2 step";
  const TemporaryDirectory folder;
  RunDirectory directory = RunDirectory::open(folder / "run", hasty_file_ops());
  tulle::Run run = start_run(config, data);
  Signals none;
  Diary dying;
  dying.at_batch = [&](const Observer::Batch&) {
    if (run.state.step == 9) throw std::bad_alloc();
  };
  EXPECT_THROW(train(run, data, &directory, dying, none), std::bad_alloc);
  tulle::Run second = resume_run(config, data, directory.checkpoint_path(5));
  Observer nobody;
  train(second, data, &directory, nobody, none);
  std::vector<std::int64_t> steps;
  for (const EvolveRecord& event : read_metrics(folder / "run").evolutions)
    if (event.layer == 0) steps.push_back(event.step);
  EXPECT_THAT(steps, ElementsAre(2, 4, 6, 8, 10));
}

// The rates of a piece of an epoch must not count what another process did.
TEST(StoppedAndResumed, SpeedCountsTheSamplesOfThisProcessAndSecondsAddUp) {
  const Dataset data = small_data();
  const Config config = small_config();
  const TemporaryDirectory folder;
  RunDirectory directory = RunDirectory::open(folder / "run", hasty_file_ops());
  tulle::Run run = start_run(config, data);
  Signals signals;
  Diary diary;
  diary.at_batch = [&](const Observer::Batch&) { signals.stop = run.state.step == 3; };
  train(run, data, &directory, diary, signals);
  tulle::Run second = resume_run(config, data, directory.checkpoint_path(3));
  EXPECT_GT(second.state.seconds, 0.0);
  const double before = second.state.seconds;
  Diary after;
  Signals none;
  train(second, data, nullptr, after, none);
  const EpochRecord& record = after.epochs[0];
  const double compute = record.phases.forward + record.phases.backward + record.phases.update;
  EXPECT_NEAR(record.connections_per_second, static_cast<double>(record.nnz) * 4 / compute, 1e-3);
  EXPECT_NEAR(second.state.seconds,
              before + after.epochs[0].seconds + after.epochs[1].seconds + after.epochs[2].seconds, 1e-9);
}

}  // namespace
}  // namespace tulle::testing
