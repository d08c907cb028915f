// What validation data decide: the best epoch, the end, the rate. And what changes the gradient on its way.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "tulle/train/train_testing.h"
#include "tulle/train/validation.h"

namespace tulle::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Dataset validated_data() {
  Dataset data = small_data();
  data.valid = blobs(18, 3);
  // Every third label is wrong: learning them by heart makes the validation loss rise again.
  for (std::size_t i = 0; i < data.train.classes.size(); i += 3)
    data.train.classes[i] = (data.train.classes[i] + 1) % 3;
  return data;
}

// Learns fast, then overshoots: the best epoch is not the last one.
Config restless_config() {
  Config config = small_config();
  config.train.epochs = 12;
  config.train.learning_rate = 0.05;
  config.train.weight_decay = 0.0;
  config.model.dropout = 0.0;
  config.data.valid_fraction = 0.2;  // what the data above stand for
  return config;
}

std::int64_t best_epoch(const std::vector<EpochRecord>& epochs, bool by_loss) {
  std::size_t best = 0;
  for (std::size_t e = 1; e < epochs.size(); ++e)
    if (by_loss ? *epochs[e].valid_loss < *epochs[best].valid_loss
                : *epochs[e].valid_accuracy > *epochs[best].valid_accuracy)
      best = e;
  return static_cast<std::int64_t>(best) + 1;
}

TEST(BestModel, IsThatOfTheBestEpochWithAndWithoutADirectory) {
  const Dataset data = validated_data();
  for (const char* by : {"valid_loss", "valid_accuracy"}) {
    Config config = restless_config();
    config.checkpoint.best = by;
    Diary diary;
    Signals none;
    tulle::Run run = start_run(config, data);
    EXPECT_EQ(train(run, data, nullptr, diary, none), Ending::kFinished);
    const std::int64_t best = best_epoch(diary.epochs, config.checkpoint.best == "valid_loss");
    EXPECT_EQ(run.state.validation.best_epoch, best);
    ASSERT_LT(best, 12) << "this test needs a training that gets worse";
    EXPECT_EQ(evaluate(run.model, data.valid).loss,
              *diary.epochs[static_cast<std::size_t>(best) - 1].valid_loss);

    const TemporaryDirectory folder;
    RunDirectory directory = RunDirectory::open(folder / "run", hasty_file_ops());
    tulle::Run again = start_run(config, data);
    train(again, data, &directory, diary, none);
    EXPECT_EQ(evaluate(again.model, data.valid).loss, evaluate(run.model, data.valid).loss);
    int kept = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder / "run"))
      kept += entry.path().filename().string().starts_with("best-");
    EXPECT_EQ(kept, 1);
  }
}

TEST(BestModel, LastKeepsTheLastEpoch) {
  const Dataset data = validated_data();
  Config config = restless_config();
  config.checkpoint.best = "last";
  Diary diary;
  Signals none;
  tulle::Run run = start_run(config, data);
  train(run, data, nullptr, diary, none);
  EXPECT_EQ(run.state.validation.best_epoch, 0);
}

TEST(BestModel, ALossThatIsNoNumberIsWorseThanAllOthers) {
  const Dataset data = validated_data();
  tulle::Run run = start_run(restless_config(), data);
  BestModel best(nullptr, run);
  for (const double loss : {std::numeric_limits<double>::infinity(), std::nan(""), 0.5, std::nan("")}) {
    best.judge({.loss = loss}, run);
    ++run.state.epoch;
    const TemporaryDirectory folder;
    save_model(folder / "checkpoint", run.model, &run.state);
    EXPECT_EQ(load_model(folder / "checkpoint").state->validation.best_loss, run.state.validation.best_loss);
  }
  EXPECT_EQ(run.state.validation.best_epoch, 3);
  EXPECT_EQ(run.state.validation.best_loss_epoch, 3);
}

TEST(BestModel, OfWhichTheFileIsGoneIsThatOfTheEpochsToCome) {
  const Dataset data = validated_data();
  const Config config = restless_config();
  const TemporaryDirectory folder;
  RunDirectory directory = RunDirectory::open(folder / "run", hasty_file_ops());
  tulle::Run first = start_run(config, data);
  Diary diary;
  diary.at_epoch = [&](const EpochRecord& record) { return record.epoch < 10; };
  Signals none;
  train(first, data, &directory, diary, none);
  ASSERT_GT(first.state.validation.best_epoch, 0);
  for (const auto& entry : std::filesystem::directory_iterator(folder / "run"))
    if (entry.path().filename().string().starts_with("best-")) std::filesystem::remove(entry.path());
  std::vector<std::string> skipped;
  tulle::Run second = resume_run(config, data, *newest_checkpoint(directory.path(), skipped));
  Observer nobody;
  EXPECT_EQ(train(second, data, &directory, nobody, none), Ending::kFinished);
  EXPECT_GT(second.state.validation.best_epoch, 10);
}

// An observer may end the training where the topology has just changed.
TEST(BestModel, IsTheOneThatWasJudgedAlsoWhereTheTrainingEndsAtOnce) {
  const Dataset data = validated_data();
  const Config config = restless_config();
  Signals none;
  Diary whole;
  tulle::Run until_the_end = start_run(config, data);
  train(until_the_end, data, nullptr, whole, none);
  struct : Diary {
    bool on_epoch(const EpochRecord& record) override {
      Diary::on_epoch(record);
      return record.epoch < best;
    }
    bool is_content() const override { return true; }
    std::int64_t best = 0;
  } observer;
  observer.best = best_epoch(whole.epochs, true);
  tulle::Run run = start_run(config, data);
  EXPECT_EQ(train(run, data, nullptr, observer, none), Ending::kFinished);
  EXPECT_EQ(run.state.epoch, observer.best);
  EXPECT_FALSE(observer.events.empty());
  EXPECT_EQ(evaluate(run.model, data.valid).loss, *observer.epochs.back().valid_loss);
}

TEST(BestModel, ComesBackAfterAResume) {
  const Dataset data = validated_data();
  const Config config = restless_config();
  const TemporaryDirectory folder;
  Observer nobody;
  Signals none;
  tulle::Run whole = start_run(config, data);
  train(whole, data, nullptr, nobody, none);
  RunDirectory directory = RunDirectory::open(folder / "run", hasty_file_ops());
  tulle::Run first = start_run(config, data);
  Diary diary;
  diary.at_epoch = [&](const EpochRecord& record) { return record.epoch < 10; };
  EXPECT_EQ(train(first, data, &directory, diary, none), Ending::kStopped);
  std::vector<std::string> skipped;
  tulle::Run second = resume_run(config, data, *newest_checkpoint(directory.path(), skipped));
  train(second, data, &directory, nobody, none);
  ASSERT_LT(whole.state.validation.best_epoch, 10);
  for (std::size_t l = 0; l < whole.model.network.size(); ++l) {
    EXPECT_EQ(second.model.network.layer(l).weight().value, whole.model.network.layer(l).weight().value);
    EXPECT_EQ(second.model.network.layer(l).bias().value, whole.model.network.layer(l).bias().value);
  }
}

TEST(EarlyStopping, EndsWhenTheValidationLossHasNotFallenForItsPatience) {
  const Dataset data = validated_data();
  Config config = restless_config();
  config.train.epochs = 60;
  config.train.early_stopping = 3;
  Diary diary;
  Signals none;
  tulle::Run run = start_run(config, data);
  EXPECT_EQ(train(run, data, nullptr, diary, none), Ending::kFinished);
  EXPECT_LT(run.state.epoch, 60);
  EXPECT_EQ(run.state.epoch, best_epoch(diary.epochs, true) + 3);
  ASSERT_FALSE(diary.events.empty());
  EXPECT_EQ(diary.events.back().epoch, run.state.epoch - 1) << "what grows at the end stays untrained";
  Diary after;
  train(run, data, nullptr, after, none);  // it is over
  EXPECT_TRUE(after.epochs.empty());
}

TEST(Plateau, LowersTheRateWheneverTheLossHasNotFallenForItsPatience) {
  const Dataset data = validated_data();
  Config config = restless_config();
  config.train.epochs = 20;
  config.train.schedule = "plateau";
  config.train.plateau_patience = 2;
  config.train.gamma = 0.5;
  Diary diary;
  Signals none;
  tulle::Run run = start_run(config, data);
  train(run, data, nullptr, diary, none);
  double rate = 0.05, best = 1e30;
  int since = 0, falls = 0;
  for (const EpochRecord& epoch : diary.epochs) {
    EXPECT_NEAR(epoch.learning_rate, rate, 1e-12) << "epoch " << epoch.epoch;
    ++since;
    if (*epoch.valid_loss < best) best = *epoch.valid_loss, since = 0;
    if (since >= 2) rate *= 0.5, since = 0, ++falls;
  }
  EXPECT_GT(falls, 0);
}

TEST(ValidationData, AreNeededForWhatTheyDecide) {
  for (const bool plateau : {false, true}) {
    Config config;
    config.train.early_stopping = plateau ? 0 : 3;
    if (plateau) config.train.schedule = "plateau";
    try {
      finish_config(config);
      ADD_FAILURE() << "not refused";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kConfig);
      EXPECT_THAT(error.what(), HasSubstr("data.valid_fraction, found 0"));
    }
  }
}

TEST(ClassWeights, AreNoneBalancedOrANumberForEachClass) {
  Dataset data = small_data();
  data.train.classes = {0, 0, 0, 1, 1, 2};
  Config config;
  EXPECT_TRUE(class_weights(config, data).empty());
  config.train.class_weights = "balanced";
  EXPECT_THAT(class_weights(config, data), ElementsAre(6.0f / 9, 1.0f, 2.0f));
  data.train.weights = {2, 0.5f, 0.5f, 1, 1, 4};
  EXPECT_THAT(class_weights(config, data), ElementsAre(1.0f, 1.5f, 0.75f));
  config.train.class_weights = "1,0.25,3";
  EXPECT_THAT(class_weights(config, data), ElementsAre(1, 0.25f, 3));
  for (const char* bad : {"1,2", "1,2,3,4", "a,b,c", "1,-2,3", "", "1;2;3", "1,2,nan"}) {
    config.train.class_weights = bad;
    EXPECT_THROW(class_weights(config, data), Error) << bad;
  }
}

TEST(Clipping, BoundsTheStepByNormAndByValue) {
  const Dataset data = small_data();
  const auto first_step = [&](double norm, double value) {
    Config config = small_config();
    config.train.optimizer = "sgd";
    config.train.momentum = 0.0;
    config.train.weight_decay = 0.0;
    config.train.learning_rate = 1.0;
    config.train.clip_norm = norm;
    config.train.clip_value = value;
    tulle::Run run = start_run(config, data);
    std::vector<float> before, after;
    for (const Parameter* p : run.model.network.parameters())
      before.insert(before.end(), p->value.begin(), p->value.end());
    Signals signals;
    Diary diary;
    diary.at_batch = [&](const Observer::Batch&) { signals.stop = true; };
    train(run, data, nullptr, diary, signals);
    for (const Parameter* p : run.model.network.parameters())
      after.insert(after.end(), p->value.begin(), p->value.end());
    for (std::size_t i = 0; i < after.size(); ++i) after[i] -= before[i];
    return after;
  };
  const std::vector<float> free = first_step(0, 0), clipped = first_step(0.01, 0),
                           bounded = first_step(0, 0.001);
  double norm = 0.0, free_norm = 0.0;
  for (std::size_t i = 0; i < free.size(); ++i)
    free_norm += free[i] * free[i], norm += clipped[i] * clipped[i];
  EXPECT_GT(std::sqrt(free_norm), 0.02);
  EXPECT_NEAR(std::sqrt(norm), 0.01, 1e-5);
  for (std::size_t i = 0; i < free.size(); ++i) {
    EXPECT_NEAR(clipped[i], free[i] * 0.01 / std::sqrt(free_norm), 1e-6);
    EXPECT_NEAR(bounded[i], std::clamp(free[i], -0.001f, 0.001f), 1e-6);
  }
}

}  // namespace
}  // namespace tulle::testing
