#include "tulle/train/train.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <map>
#include <sstream>

#include "tulle/kernels/targets.h"
#include "tulle/train/train_testing.h"

namespace tulle::testing {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::int64_t> event_steps(const Diary& diary) {
  std::vector<std::int64_t> steps;
  for (const EvolveRecord& event : diary.events)
    if (event.layer == 0) steps.push_back(event.step);
  return steps;
}
std::vector<std::int64_t> save_steps(const Diary& diary) {
  std::vector<std::int64_t> steps;
  for (const CheckpointRecord& save : diary.saves) steps.push_back(save.step);
  return steps;
}

class Training : public ::testing::Test {
 protected:
  Ending go(const Config& config) { return go(start_run(config, data_)); }
  Ending go(tulle::Run run) {
    run_ = std::move(run);
    return train(run_, data_, nullptr, diary_, signals_);
  }
  Ending go_with_directory(const Config& config) {
    RunDirectory directory = RunDirectory::open(path(), hasty_file_ops());
    run_ = start_run(config, data_);
    return train(run_, data_, &directory, diary_, signals_);
  }
  std::string path() const { return folder_ / "run"; }

  TemporaryDirectory folder_;
  Dataset data_ = small_data();
  Diary diary_;
  Signals signals_;
  tulle::Run run_;
};

class TrainingOnEveryInstructionSet : public Training, public ::testing::WithParamInterface<std::string> {
 protected:
  void SetUp() override { kernels::force_target(GetParam()); }
  void TearDown() override { kernels::force_target(""); }
};

TEST_P(TrainingOnEveryInstructionSet, LearnsASeparableProblem) {
  Config config = small_config();
  config.train.epochs = 12;
  config.train.learning_rate = 0.05;
  EXPECT_EQ(go(config), Ending::kFinished);
  EXPECT_LT(diary_.epochs.back().train_loss, 0.5 * diary_.epochs.front().train_loss);
  EXPECT_GE(*diary_.epochs.back().test_accuracy, 0.95);
}

INSTANTIATE_TEST_SUITE_P(Targets, TrainingOnEveryInstructionSet,
                         ::testing::ValuesIn(kernels::available_targets()),
                         [](const auto& info) { return info.param; });

TEST_F(Training, ClippedLossesAreToldAndTheWeightsAreTheSame) {
  const Config plain = small_config();
  Config clipped = plain;
  clipped.train.ce_clip = 0.4;
  EXPECT_EQ(trained(start_run(plain, data_), data_), trained(start_run(clipped, data_), data_));
  go(clipped);
  for (const EpochRecord& epoch : diary_.epochs)
    for (const double loss : {epoch.train_loss, *epoch.test_loss}) {
      EXPECT_GE(loss, -std::log(0.6));
      EXPECT_LE(loss, -std::log(0.4));
    }
}

// The network right after its first importance event.
Bits after_elimination(const Config& config, const Dataset& data) {
  struct : Observer {
    tulle::Run run;
    Bits bits;
    void on_importance(const ImportanceRecord&) override {
      if (bits.empty()) bits = bits_of(run.model.network);
    }
  } observer;
  observer.run = start_run(config, data);
  Signals none;
  train(observer.run, data, nullptr, observer, none);
  return observer.bits;
}

TEST_F(Training, NeuronsThatGoLeaveTheirMeansInTheBiasesIfAskedTo) {
  Config config = small_config();
  config.evolve.importance_percentile = 20.0;
  config.evolve.importance_start = 1;
  const Bits nothing = after_elimination(config, data_);
  config.evolve.fold = "mean";
  Bits means = after_elimination(config, data_);
  ASSERT_FALSE(nothing.empty());
  for (const auto& [name, bits] : nothing) {
    const bool reached = name == "layers.1.bias" || name == "layers.2.bias";
    EXPECT_EQ(means[name] != bits, reached) << name;
  }
}

// Lines of RUN/input-links.csv: step, input, links, strength.
std::vector<std::array<double, 4>> input_links_of(const std::string& run_directory) {
  std::istringstream text(read_text(run_directory + "/input-links.csv"));
  std::vector<std::array<double, 4>> lines;
  std::string line;
  std::getline(text, line);
  EXPECT_EQ(line, "step,input,links,strength");
  while (std::getline(text, line)) {
    auto& [step, input, links, strength] = lines.emplace_back();
    EXPECT_EQ(std::sscanf(line.c_str(), "%lf,%lf,%lf,%lf", &step, &input, &links, &strength), 4);
  }
  return lines;
}

TEST_F(Training, TellsAtEachEventWhatEveryInputKeeps) {
  Config config = small_config();
  config.log.input_links = true;
  config.evolve.grow = "none";  // so that what is kept is what the network has after the event
  config.evolve.zeta = 0.1;
  std::vector<std::array<double, 4>> wanted;
  diary_.at_epoch = [&](const EpochRecord& record) {
    if (record.epoch == 3) return true;  // no event
    const Layer& layer = run_.model.network.layer(0);
    std::vector<std::array<double, 4>> lines;
    for (int input = 0; input < 12; ++input)
      lines.push_back({static_cast<double>(record.step), static_cast<double>(input), 0.0, 0.0});
    for (std::size_t k = 0; k < layer.weight().value.size(); ++k) {
      auto& line = lines[static_cast<std::size_t>(layer.topology()->columns()[k])];
      ++line[2];
      line[3] += std::abs(static_cast<double>(layer.weight().value[k]));
    }
    wanted.insert(wanted.end(), lines.begin(), lines.end());
    return true;
  };
  go_with_directory(config);
  EXPECT_EQ(wanted.size(), 24u);
  EXPECT_EQ(input_links_of(path()), wanted);
}

TEST_F(Training, WhatInputsKeepIsToldBeforeAnythingGrows) {
  Config config = small_config();
  config.log.input_links = true;
  go_with_directory(config);
  std::map<double, double> links;
  for (const auto& line : input_links_of(path())) links[line[0]] += line[2];
  for (const EvolveRecord& event : diary_.events)
    if (event.layer == 0) {
      EXPECT_EQ(links[static_cast<double>(event.step)], static_cast<double>(event.before - event.dropped));
    }
}

TEST_F(Training, WhatInputsKeepIsToldOnceForEachEventOfATrainingThatWasResumed) {
  Config config = small_config();
  config.log.input_links = true;
  config.evolve.update_every = "2 step";
  config.checkpoint.save_every = "5 step";
  config.checkpoint.keep = 1000;
  go_with_directory(config);
  const std::string whole = read_text(path() + "/input-links.csv");
  RunDirectory directory = RunDirectory::open(path(), hasty_file_ops());
  tulle::Run second = resume_run(config, data_, directory.checkpoint_path(5));
  Observer nobody;
  train(second, data_, &directory, nobody, signals_);
  EXPECT_EQ(read_text(path() + "/input-links.csv"), whole);
}

TEST_F(Training, TopologyStaysOnceTheLastEventsLeftMostOfIt) {
  Config config = small_config();
  config.train.epochs = 5;
  config.evolve.rule = "set";
  config.evolve.zeta = 0.4;
  config.evolve.zeta_schedule = "linear";
  config.evolve.update_every = "1 step";
  config.evolve.stable_events = 3;
  config.evolve.stable_share = 0.85;
  go_with_directory(config);
  // The oracle: what each event reported.
  std::map<std::int64_t, std::pair<double, double>> by_step;  // connections, survivors
  for (const EvolveRecord& event : diary_.events) {
    by_step[event.step].first += static_cast<double>(event.before);
    by_step[event.step].second += static_cast<double>(event.before - event.dropped + event.regrown);
  }
  std::int64_t stable = 0;
  double share = 0.0;
  for (std::int64_t step = 3; step <= 20 && stable == 0; ++step) {
    double connections = 0.0, survivors = 0.0;
    for (std::int64_t event = step - 2; event <= step; ++event) {
      connections += by_step[event].first;
      survivors += by_step[event].second;
    }
    share = survivors / connections;
    if (share > 0.85) stable = step;
  }
  ASSERT_GT(stable, 3);
  ASSERT_LT(stable, 19);
  EXPECT_EQ(event_steps(diary_).back(), stable);
  const RunRecord record = read_metrics(path());
  ASSERT_TRUE(record.stable);
  EXPECT_EQ(record.stable->step, stable);
  EXPECT_EQ(record.stable->epoch, (stable + 3) / 4);
  EXPECT_EQ(record.stable->events, 3);
  EXPECT_DOUBLE_EQ(record.stable->survivors, share);
}

TEST_F(Training, TopologyStaysAfterAsManyEventsAsAreLookedAtIfNothingChangesAtAll) {
  Config config = small_config();
  config.evolve.zeta = 0.0;
  config.evolve.update_every = "1 step";
  config.evolve.stable_events = 3;
  go(config);
  EXPECT_THAT(event_steps(diary_), ElementsAre(1, 2, 3));
}

TEST_F(Training, TopologyNeverStaysUnlessAskedTo) {
  Config config = small_config();
  config.evolve.zeta = 0.0;
  config.evolve.update_every = "1 step";
  go(config);
  EXPECT_EQ(event_steps(diary_).size(), 11u);
}

TEST_F(Training, GathersScoresInTheLastStepsBeforeAnEventAlone) {
  Config config = small_config();
  config.evolve.rule = "snfs";
  config.evolve.momentum_steps = 3;
  std::vector<std::int64_t> gathering;
  diary_.at_batch = [&](const Observer::Batch&) {
    if (!run_.state.gathered.empty()) gathering.push_back(run_.state.step);
  };
  go(config);
  EXPECT_THAT(event_steps(diary_), ElementsAre(4, 8));
  EXPECT_THAT(gathering, ElementsAre(2, 3, 4, 6, 7, 8));
}

TEST_F(Training, TheRecordOfAnEpochTellsWhatHappenedInIt) {
  Config config = small_config();
  config.train.schedule = "linear";
  config.checkpoint.best = "last";
  data_.valid = blobs(9, 3);
  go(config);
  ASSERT_EQ(diary_.epochs.size(), 3u);
  const EpochRecord& second = diary_.epochs[1];
  EXPECT_EQ(second.epoch, 2);
  EXPECT_EQ(second.step, 8);
  EXPECT_NEAR(second.learning_rate, 0.02 * (1.0 - 7.0 / 12.0), 1e-12);  // of the epoch's last step
  EXPECT_EQ(second.nnz, run_.model.network.connections());
  EXPECT_EQ(second.density, run_.model.network.density());
  ASSERT_EQ(second.layer_density.size(), 3u);
  EXPECT_DOUBLE_EQ(second.layer_density[0], 108.0 / (12 * 24));  // epsilon (12 + 24)
  EXPECT_EQ(second.layer_density[2], 1.0);
  EXPECT_DOUBLE_EQ(second.train_loss, diary_.batches[7].loss);  // the mean over the epoch
  EXPECT_EQ(diary_.batches[7].batch, 4);
  EXPECT_EQ(diary_.batches[7].batches, 4);
  EXPECT_EQ(diary_.batches[7].epoch, 2);
  EXPECT_GT(*second.train_accuracy, 0.0);
  EXPECT_TRUE(second.test_loss && second.valid_loss && second.valid_accuracy);
  const PhaseSeconds& p = second.phases;
  EXPECT_DOUBLE_EQ(second.seconds, p.data + p.forward + p.backward + p.update + p.evolve);
  EXPECT_NEAR(second.connections_per_second,
              static_cast<double>(second.nnz) * 52 / (p.forward + p.backward + p.update), 1e-3);
  EXPECT_NEAR(run_.state.seconds,
              diary_.epochs[0].seconds + diary_.epochs[1].seconds + diary_.epochs[2].seconds, 1e-9);
  const Evaluation test = evaluate(run_.model, data_.test);
  EXPECT_EQ(*diary_.epochs.back().test_loss, test.loss);
  EXPECT_EQ(*diary_.epochs.back().test_accuracy, test.accuracy);
}

TEST_F(Training, WithoutTestDataItsFiguresAreLeftOut) {
  data_.test = {};
  go(small_config());
  EXPECT_FALSE(diary_.epochs.back().test_loss);
  EXPECT_FALSE(diary_.epochs.back().valid_loss);
}

TEST_F(Training, AnIncompleteLastBatchIsUsedOrDropped) {
  Config config = small_config();
  go(config);
  EXPECT_EQ(run_.state.samples, 52);
  EXPECT_EQ(run_.state.step, 12);
  config.train.last_batch = "drop";
  go(config);
  EXPECT_EQ(run_.state.samples, 48);
  EXPECT_EQ(run_.state.step, 9);
}

TEST_F(Training, FewerSamplesThanOneBatchAreRefusedIfIncompleteOnesAreDropped) {
  Config config = small_config();
  config.train.batch_size = 53;
  EXPECT_EQ(go(config), Ending::kFinished);
  config.train.last_batch = "drop";
  EXPECT_THAT(refusal([&] { start_run(config, data_); }, ErrorKind::kConfig),
              HasSubstr("train.batch_size, found 53, expected at most 52"));
}

TEST_F(Training, TheTopologyChangesAfterEachEpochButTheLast) {
  go(small_config());
  EXPECT_THAT(event_steps(diary_), ElementsAre(4, 8));
  for (const EvolveRecord& event : diary_.events) {
    EXPECT_EQ(event.epoch, event.step / 4);
    EXPECT_GT(event.grown, 0);
    EXPECT_EQ(event.grown, event.dropped);
    EXPECT_LT(event.layer, 2);  // not the last layer
  }
  EXPECT_EQ(diary_.events.size(), 4u);
}

TEST_F(Training, TheTopologyMayChangeEverySoManySteps) {
  Config config = small_config();
  config.evolve.update_every = "4 step";  // also at the ends of epochs, but not at the very end
  go(config);
  EXPECT_THAT(event_steps(diary_), ElementsAre(4, 8));
  diary_ = {};
  config.evolve.update_every = "3 step";
  go(config);
  EXPECT_THAT(event_steps(diary_), ElementsAre(3, 6, 9));
  EXPECT_EQ(diary_.events[0].epoch, 1);
  diary_ = {};
  config.evolve.update_every = "2 epoch";
  go(config);
  EXPECT_THAT(event_steps(diary_), ElementsAre(8));
}

TEST_F(Training, TheTopologyStaysFromStopAfterOn) {
  Config config = small_config();
  config.train.epochs = 4;
  config.evolve.stop_after = 0.5;
  go(config);
  EXPECT_THAT(event_steps(diary_), ElementsAre(4));  // not after epoch 2 of 4
  diary_ = {};
  config.evolve.update_every = "1 step";
  config.evolve.stop_after = 0.3;
  go(config);
  EXPECT_THAT(event_steps(diary_), ElementsAre(1, 2, 3, 4));
  for (const auto& [key, value] :
       {std::pair{"evolve.rule", "none"}, {"evolve.update_every", "never"}, {"evolve.stop_after", "0"}}) {
    diary_ = {};
    Config fixed = small_config();
    set_config_value(fixed, key, value);
    go(fixed);
    EXPECT_THAT(diary_.events, IsEmpty()) << key;
  }
}

TEST_F(Training, SeesTheNetworkBeforeTheTopologyEventInItsFigures) {
  // What the epoch's record says must be the accuracy of what was trained, not of connections just grown.
  Config config = small_config();
  config.train.epochs = 2;
  config.evolve.zeta = 1.0;
  Config fixed = config;
  fixed.evolve.rule = "none";
  go(config);
  const double with_event = *diary_.epochs[0].test_loss;
  go(fixed);
  EXPECT_EQ(*diary_.epochs[2].test_loss, with_event);
}

TEST_F(Training, EndsWhenTheObserverSaysSoAndKeepsACheckpointOfThatEpoch) {
  diary_.at_epoch = [](const EpochRecord& record) { return record.epoch < 2; };
  EXPECT_EQ(go_with_directory(small_config()), Ending::kStopped);
  EXPECT_EQ(run_.state.epoch, 2);
  EXPECT_THAT(save_steps(diary_), ElementsAre(8));
  EXPECT_EQ(load_model(diary_.saves.at(0).path).state->epoch, 2);
}

TEST_F(Training, IsFinishedIfTheObserverSaysStopAtTheLastEpoch) {
  diary_.at_epoch = [](const EpochRecord& record) { return record.epoch < 3; };
  EXPECT_EQ(go(small_config()), Ending::kFinished);
}

TEST_F(Training, ASignalToStopEndsItAfterTheBatchWithACheckpoint) {
  diary_.at_batch = [&](const Observer::Batch&) { signals_.stop = run_.state.step == 6; };
  EXPECT_EQ(go_with_directory(small_config()), Ending::kStopped);
  EXPECT_EQ(run_.state.step, 6);
  EXPECT_THAT(save_steps(diary_), ElementsAre(6));
  const LoadedModel loaded = load_model(diary_.saves.at(0).path);
  EXPECT_EQ(loaded.state->epoch, 1);
  EXPECT_EQ(loaded.state->batch_in_epoch, 2);
}

TEST_F(Training, ASignalBeforeTheFirstBatchSavesTheStart) {
  signals_.stop = true;
  EXPECT_EQ(go_with_directory(small_config()), Ending::kStopped);
  EXPECT_THAT(save_steps(diary_), ElementsAre(0));
}

TEST_F(Training, ASignalToSaveSavesOnceAndGoesOn) {
  diary_.at_batch = [&](const Observer::Batch&) {
    if (run_.state.step == 5) signals_.save = true;
  };
  EXPECT_EQ(go_with_directory(small_config()), Ending::kFinished);
  EXPECT_THAT(save_steps(diary_), ElementsAre(5, 12));
  EXPECT_FALSE(signals_.save);
}

TEST_F(Training, SavesWhenItIsDueAndAlwaysAtTheEnd) {
  for (const auto& [when, steps] : {std::pair<const char*, std::vector<std::int64_t>>{"never", {12}},
                                    {"1 epoch", {4, 8, 12}},
                                    {"2 epoch", {8, 12}},
                                    {"5 step", {5, 10, 12}},
                                    {"4 step", {4, 8, 12}},
                                    {"1e-9 min", {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}}}) {
    Config config = small_config();
    config.checkpoint.save_every = when;
    diary_ = {};
    go_with_directory(config);
    EXPECT_EQ(save_steps(diary_), steps) << when;
    EXPECT_EQ(load_model(diary_.saves.at(steps.size() - 1).path).state->epoch, 3) << when;
  }
}

TEST_F(Training, KeepsTheNewestCheckpointsAndWritesItsRecords) {
  Config config = small_config();
  config.checkpoint.save_every = "1 step";
  go_with_directory(config);
  EXPECT_THAT(folder_.names(), ElementsAre("run"));
  EXPECT_EQ(list_checkpoints(path()).size(), 2u);
  const RunRecord records = read_metrics(path());
  EXPECT_EQ(records.start.seed, 1);
  EXPECT_EQ(records.start.threads, thread_count());
  EXPECT_EQ(records.start.isa, kernels::current_target());
  EXPECT_EQ(records.start.nnz, run_.model.network.connections());
  EXPECT_EQ(records.start.dense, 12 * 24 + 24 * 16 + 16 * 3);
  EXPECT_EQ(records.epochs.size(), 3u);
  EXPECT_EQ(records.evolutions.size(), 4u);
}

TEST_F(Training, ALearningRateThatIsFarTooLargeEndsItAtTheNextBatch) {
  for (const OptimizerInfo& optimizer : optimizers()) {
    Config config = small_config();
    config.train.optimizer = optimizer.name;
    config.train.learning_rate = 1e30;
    diary_ = {};
    const std::string message = refusal([&] { go(config); }, ErrorKind::kDiverged);
    EXPECT_THAT(message, AllOf(HasSubstr("in epoch 1, batch "), HasSubstr("expected a finite number"),
                               HasSubstr("largest weight "), HasSubstr("smaller train.learning_rate")))
        << optimizer.name;
    EXPECT_LE(diary_.batches.size(), 1u) << optimizer.name;
  }
}

TEST_F(Training, DivergenceNamesEpochBatchAndArrayAndTheLastGoodCheckpointStays) {
  Config config = small_config();
  config.checkpoint.save_every = "5 step";
  diary_.at_batch = [&](const Observer::Batch&) {
    if (run_.state.step == 6) run_.model.network.layer(1).weight().value[3] = std::nanf("");
  };
  EXPECT_THAT(refusal([&] { go_with_directory(config); }, ErrorKind::kDiverged),
              AllOf(HasSubstr("loss in epoch 2, batch 3 (step 7), found nan"),
                    HasSubstr("largest weight nan in layers.1.weight")));
  EXPECT_THAT(save_steps(diary_), ElementsAre(5));
  std::vector<std::string> skipped;
  EXPECT_EQ(newest_checkpoint(path(), skipped), diary_.saves.at(0).path);
}

TEST_F(Training, AWeightThatIsInfiniteBehindASigmoidIsFoundThoughTheLossIsFinite) {
  Config config = small_config();
  config.model.activation = "sigmoid";
  diary_.at_batch = [&](const Observer::Batch&) {
    // This neuron is 0 from now on.
    if (run_.state.step == 2) run_.model.network.layer(0).bias().value[5] = -HUGE_VALF;
  };
  EXPECT_THAT(
      refusal([&] { go(config); }, ErrorKind::kDiverged),
      AllOf(HasSubstr("weights in epoch 1, batch 3 (step 3), found "), HasSubstr(" in layers.0.bias")));
}

TEST_F(Training, ARegressionTrainsOnNumbers) {
  data_.class_names.clear();
  for (Split* split : {&data_.train, &data_.test}) {
    for (const std::int32_t c : split->classes) split->targets.push_back(static_cast<float>(c));
    split->classes.clear();
  }
  Config config = small_config();
  config.model.loss = "mse";
  config.train.epochs = 30;
  config.model.dropout = 0.0;
  config.train.optimizer = "adam";
  EXPECT_EQ(go(config), Ending::kFinished);
  EXPECT_EQ(run_.model.network.outputs(), 1);
  EXPECT_FALSE(diary_.epochs.back().train_accuracy);
  EXPECT_LT(*diary_.epochs.back().test_loss, 0.3);  // the variance of the targets is 2/3
}

}  // namespace
}  // namespace tulle::testing
