#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tulle/checkpoint/file_parts_testing.h"
#include "tulle/train/train_testing.h"

namespace tulle::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

/// A finished training of 12 steps with a checkpoint of each epoch.
class Resume : public ::testing::Test {
 protected:
  Resume() {
    config_.checkpoint.save_every = "1 epoch";
    config_.checkpoint.keep = 10;
    RunDirectory directory = RunDirectory::open(folder_.path(), hasty_file_ops());
    tulle::Run run = start_run(config_, data_);
    Observer nobody;
    Signals none;
    train(run, data_, &directory, nobody, none);
  }
  std::string checkpoint(int step) const {
    return folder_ /
           ("ckpt-" + std::string(step < 10 ? "00000" : "0000") + std::to_string(step) + ".safetensors");
  }
  void damage(const std::string& path) const {
    std::string text = read_text(path);
    text[text.size() / 2] ^= 1;
    write_text(path, text);
  }
  std::string refused(const Config& config, const Dataset& data, ErrorKind kind = ErrorKind::kConfig) const {
    return refusal([&] { resume_run(config, data, checkpoint(8)); }, kind);
  }

  TemporaryDirectory folder_;
  Dataset data_ = small_data();
  Config config_ = small_config();
};

TEST_F(Resume, StartsWithTheNewestCheckpoint) {
  std::vector<std::string> skipped;
  EXPECT_EQ(newest_checkpoint(folder_.path(), skipped), checkpoint(12));
  EXPECT_THAT(skipped, IsEmpty());
}

TEST_F(Resume, SkipsCheckpointsThatAreDamagedAndNamesThem) {
  damage(checkpoint(12));
  write_text(checkpoint(8), "");
  std::vector<std::string> skipped;
  EXPECT_EQ(newest_checkpoint(folder_.path(), skipped), checkpoint(4));
  EXPECT_THAT(skipped, ElementsAre(StartsWith(checkpoint(12)), StartsWith(checkpoint(8))));
}

TEST_F(Resume, SkipsAModelFileThatIsCalledACheckpoint) {
  LoadedModel loaded = load_model(checkpoint(12));
  save_model(checkpoint(12), loaded.model);
  std::vector<std::string> skipped;
  EXPECT_EQ(newest_checkpoint(folder_.path(), skipped), checkpoint(8));
  EXPECT_THAT(skipped, ElementsAre(HasSubstr("without training state")));
  EXPECT_THAT(refusal([&] { resume_run(config_, data_, checkpoint(12)); }), StartsWith(checkpoint(12)));
}

TEST_F(Resume, IsRefusedIfNoCheckpointLoadsAndNamesTheNewest) {
  for (const int step : {4, 8, 12}) damage(checkpoint(step));
  std::vector<std::string> skipped{"of another folder"};
  EXPECT_THAT(refusal([&] { newest_checkpoint(folder_.path(), skipped); }),
              AllOf(StartsWith(folder_.path() + ": checkpoints, found 3 of which none loads"),
                    HasSubstr("newest: " + checkpoint(12))));
  EXPECT_EQ(skipped.size(), 4u);
}

TEST_F(Resume, HasNoCheckpointInAnEmptyFolder) {
  const TemporaryDirectory empty;
  std::vector<std::string> skipped;
  EXPECT_EQ(newest_checkpoint(empty.path(), skipped), std::nullopt);
}

TEST_F(Resume, OfAnotherNetIsRefusedWithBothShapes) {
  Config other = config_;
  other.model.hidden = {24, 17};
  EXPECT_THAT(refused(other, data_),
              AllOf(StartsWith(checkpoint(8)), HasSubstr("12-24-16-3"), HasSubstr("expected 12-24-17-3")));
}

TEST_F(Resume, UnderAnotherValueOfAKeyThatCountsIsRefusedAndUnderOthersNot) {
  for (const auto& [key, value] : {std::pair{"run.seed", "2"},
                                   {"model.activation", "relu"},
                                   {"model.dropout", "0.25"},
                                   {"train.learning_rate", "0.03"},
                                   {"train.optimizer", "adam"},
                                   {"evolve.zeta", "0.2"},
                                   {"train.batch_size", "8"}}) {
    Config other = config_;
    set_config_value(other, key, value);
    EXPECT_THAT(refused(other, data_), HasSubstr(std::string(key) + ", found ")) << key;
  }
  for (const auto& [key, value] : {std::pair{"run.threads", "2"},
                                   {"run.name", "x"},
                                   {"checkpoint.keep", "5"},
                                   {"log.report", "false"},
                                   {"data.train", "elsewhere"}}) {
    Config other = config_;
    set_config_value(other, key, value);
    EXPECT_EQ(resume_run(other, data_, checkpoint(8)).state.step, 8) << key;
  }
}

TEST_F(Resume, OnOtherDataIsRefused) {
  Dataset other = data_;
  other.train.inputs.floats[3] += 1.0f;
  EXPECT_THAT(refused(config_, other), HasSubstr("the data has changed"));
  other = data_;
  std::swap(other.train.classes[0], other.train.classes[1]);
  EXPECT_THAT(refused(config_, other), HasSubstr("the data has changed"));
}

TEST_F(Resume, OfADamagedFileIsBadData) {
  damage(checkpoint(8));
  EXPECT_THAT(refused(config_, data_, ErrorKind::kBadData), StartsWith(checkpoint(8)));
}

TEST_F(Resume, OfAConfigThatCannotBeReadIsBadData) {
  FileParts parts(checkpoint(8));
  parts.metadata["config"] = "[train]\nepoch = 3\n";
  parts.write(checkpoint(8));
  EXPECT_THAT(refused(config_, data_, ErrorKind::kBadData),
              AllOf(StartsWith(checkpoint(8) + ": metadata 'config'"), HasSubstr("unknown key train.epoch")));
}

TEST_F(Resume, WithoutTheOptimizersStateIsBadData) {
  FileParts parts(checkpoint(8));
  parts.tensors.erase("layers.1.bias.m1");
  parts.write(checkpoint(8));
  EXPECT_THAT(refused(config_, data_, ErrorKind::kBadData), HasSubstr("state of 'layers.1.bias'"));
}

TEST_F(Resume, OfCountersThatContradictEachOtherIsBadData) {
  for (const auto& [key, value] :
       {std::pair{"step", "9"}, {"epoch", "9223372036854775807"}, {"batch_in_epoch", "4"}}) {
    FileParts parts(checkpoint(4));
    parts.metadata[key] = value;
    parts.write(checkpoint(8));
    EXPECT_THAT(refused(config_, data_, ErrorKind::kBadData), HasSubstr("metadata 'step'")) << key;
  }
}

TEST_F(Resume, GoesOnForMoreEpochsUnderTheNewNumber) {
  Config longer = config_;
  longer.train.epochs = 5;
  tulle::Run run = resume_run(longer, data_, checkpoint(12));
  EXPECT_EQ(run.model.config, learning_config(longer));
  Diary diary;
  Signals none;
  EXPECT_EQ(train(run, data_, nullptr, diary, none), Ending::kFinished);
  EXPECT_EQ(run.state.step, 20);
  EXPECT_EQ(diary.epochs.size(), 2u);
  EXPECT_EQ(diary.events.size(), 2u);  // after epoch 4, in both layers; not after 3, then the last, nor 5
}

TEST_F(Resume, MayEndWhereItStandsButNotBefore) {
  Config shorter = config_;
  shorter.train.epochs = 2;
  tulle::Run run = resume_run(shorter, data_, checkpoint(8));
  Observer nobody;
  Signals none;
  EXPECT_EQ(train(run, data_, nullptr, nobody, none), Ending::kFinished);
  EXPECT_EQ(run.state.step, 8);
  shorter.train.epochs = 1;
  EXPECT_THAT(refused(shorter, data_), HasSubstr("train.epochs, found 1, expected at least 2"));
}

}  // namespace
}  // namespace tulle::testing
