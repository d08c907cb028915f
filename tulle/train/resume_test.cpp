#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tulle/base/error.h"
#include "tulle/base/file_ops_testing.h"
#include "tulle/train/train_testing.h"

namespace tulle {
namespace {

using ::testing::HasSubstr;
using testing::small_config;
using testing::small_dataset;
using testing::TemporaryDirectory;
using testing::Witness;

// A run directory with checkpoints of steps 5, 10, ..., 25.
class Resume : public ::testing::Test {
 protected:
  void SetUp() override {
    config_.checkpoint.save_every = "1 epoch";
    config_.checkpoint.keep = 9;
    RunDirectory directory = RunDirectory::open(folder_.path(), {});
    tulle::Run run = start_run(config_, data_);
    Signals signals;
    Witness witness;
    train(run, data_, &directory, witness, signals);
  }

  std::string checkpoint(int step) const {
    return folder_ /
           ("ckpt-" + std::string(step < 10 ? "00000" : "0000") + std::to_string(step) + ".safetensors");
  }
  void damage(int step) const {
    std::fstream file(checkpoint(step), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(2000);
    file.put('\x55');
  }
  Error refusal(const Config& config, const Dataset& data) const {
    try {
      resume_run(config, data, checkpoint(25));
    } catch (const Error& error) {
      return error;
    }
    ADD_FAILURE() << "resumed";
    return Error(ErrorKind::kInternal, "");
  }

  Config config_ = small_config();
  Dataset data_ = small_dataset();
  TemporaryDirectory folder_;
  std::vector<std::string> skipped_;
};

TEST_F(Resume, TakesTheNewestCheckpoint) {
  EXPECT_EQ(newest_checkpoint(folder_.path(), skipped_), checkpoint(25));
  EXPECT_TRUE(skipped_.empty());
}

TEST_F(Resume, PassesOverDamagedCheckpointsAndNamesThem) {
  damage(25);
  std::filesystem::resize_file(checkpoint(20), 100);
  EXPECT_EQ(newest_checkpoint(folder_.path(), skipped_), checkpoint(15));
  ASSERT_EQ(skipped_.size(), 2u);
  EXPECT_THAT(skipped_[0], HasSubstr("ckpt-000025"));
  EXPECT_THAT(skipped_[1], HasSubstr("ckpt-000020"));
}

TEST_F(Resume, IsRefusedIfNoCheckpointIsGood) {
  for (int step = 5; step <= 25; step += 5) damage(step);
  try {
    newest_checkpoint(folder_.path(), skipped_);
    FAIL() << "found one";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadData);
    EXPECT_THAT(error.what(), HasSubstr("found 5"));
  }
}

TEST_F(Resume, FindsNothingInAnEmptyDirectory) {
  const TemporaryDirectory empty;
  EXPECT_EQ(newest_checkpoint(empty.path(), skipped_), std::nullopt);
}

TEST_F(Resume, OfAnotherNetIsRefused) {
  Config config = config_;
  config.model.hidden = {20, 17};
  const Error error = refusal(config, data_);
  EXPECT_EQ(error.kind(), ErrorKind::kConfig);
  EXPECT_THAT(error.what(), HasSubstr("12-20-16-3"));
  EXPECT_THAT(error.what(), HasSubstr("12-20-17-3"));
}

TEST_F(Resume, WithAnotherConfigIsRefusedAndNamesTheKey) {
  Config config = config_;
  config.train.momentum = 0.5;
  const Error error = refusal(config, data_);
  EXPECT_EQ(error.kind(), ErrorKind::kConfig);
  EXPECT_THAT(error.what(), HasSubstr("train.momentum, found 0.9, expected 0.5"));
}

TEST_F(Resume, OnOtherDataIsRefused) {
  Dataset data = data_;
  data.train.inputs.floats[3] += 1.0f;
  EXPECT_EQ(refusal(config_, data).kind(), ErrorKind::kConfig);
  data = data_;
  std::swap(data.train.classes[0], data.train.classes[1]);
  EXPECT_EQ(refusal(config_, data).kind(), ErrorKind::kConfig);
}

TEST_F(Resume, MayGoOnForMoreEpochsOrWithOtherThreadsPathsAndLogs) {
  Config config = config_;
  config.train.epochs = 7;
  config.run.threads = 5;
  config.run.name = "elsewhere";
  config.log.report = false;
  tulle::Run run = resume_run(config, data_, checkpoint(25));
  Signals signals;
  Witness witness;
  EXPECT_EQ(train(run, data_, nullptr, witness, signals), Ending::kFinished);
  EXPECT_EQ(witness.epochs.size(), 2u);
}

TEST_F(Resume, FromAModelFileIsRefused) {
  LoadedModel loaded = load_model(checkpoint(25));
  const std::string path = folder_ / "model.safetensors";
  save_model(path, loaded.model);
  EXPECT_THROW(resume_run(config_, data_, path), Error);
}

}  // namespace
}  // namespace tulle
