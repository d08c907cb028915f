#include "tulle/train/saving.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>

#include "tulle/train/train_testing.h"

namespace tulle::testing {
namespace {

using ::testing::HasSubstr;

Config saving_config(const char* background) {
  Config config = small_config();
  config.checkpoint.save_every = "2 step";
  config.checkpoint.keep = 100;
  config.checkpoint.background = background;
  return config;
}

// Every file of a training and its bytes, and how many checkpoints it told of.
struct Saved {
  std::map<std::string, std::string> files;
  std::size_t told = 0;
};

Saved saved(const char* background) {
  const TemporaryDirectory folder;
  RunDirectory directory = RunDirectory::open(folder / "run", hasty_file_ops());
  const Dataset data = small_data();
  tulle::Run run = start_run(saving_config(background), data);
  run.state.seconds = 0.0;
  Diary diary;
  Signals none;
  train(run, data, &directory, diary, none);
  Saved found{.files = {}, .told = diary.saves.size()};
  for (const CheckpointFile& file : list_checkpoints(directory.path())) {
    LoadedModel loaded = load_model(file.path);
    std::string bits;
    for (const auto& [name, bytes] : bits_of(loaded.model.network)) bits += name + bytes;
    found.files[std::to_string(file.step)] = bits;
  }
  return found;
}

TEST(BackgroundSave, WritesTheCheckpointsThatTheTrainingWouldHave) {
  const Saved before = saved("no"), meanwhile = saved("yes");
  EXPECT_GT(before.files.size(), 4u);
  EXPECT_EQ(meanwhile.files, before.files);
  EXPECT_EQ(meanwhile.told, before.told);
}

TEST(BackgroundSave, AFailureEndsTheTrainingAndLeavesWhatWasThere) {
  // The disk is full from the third file on.
  static std::atomic<int> left;
  struct Full : FileOps {
    int fsync(int file) override {
      if (left-- > 0) return hasty_file_ops().fsync(file);
      errno = ENOSPC;
      return -1;
    }
  };
  static Full full;
  left = 8;
  const TemporaryDirectory folder;
  RunDirectory directory = RunDirectory::open(folder / "run", full);
  const Dataset data = small_data();
  const Config config = saving_config("yes");
  tulle::Run run = start_run(config, data);
  Observer nobody;
  Signals none;
  try {
    train(run, data, &directory, nobody, none);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kCannotWrite) << error.what();
  }
  std::vector<std::string> skipped;
  const auto newest = newest_checkpoint(directory.path(), skipped);
  ASSERT_TRUE(newest);
  EXPECT_TRUE(skipped.empty());
  EXPECT_NO_THROW((void)resume_run(config, data, *newest));
}

TEST(BackgroundSave, ASnapshotIsApartFromTheNetwork) {
  const TemporaryDirectory folder;
  const Dataset data = small_data();
  tulle::Run run = start_run(small_config(), data);
  const std::int64_t bytes = save_model(folder / "before", run.model, &run.state);
  const Snapshot snapshot(run.model, &run.state);
  for (Parameter* parameter : run.model.network.parameters())
    for (float& value : parameter->value) value = 7.0f;
  EXPECT_EQ(snapshot.save(folder / "after"), bytes);
  LoadedModel after = load_model(folder / "after"), before = load_model(folder / "before");
  EXPECT_EQ(bits_of(after.model.network), bits_of(before.model.network));
  EXPECT_LE(Snapshot::bytes_of(run.model, &run.state), bytes);
}

}  // namespace
}  // namespace tulle::testing
