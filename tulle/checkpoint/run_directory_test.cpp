#include "tulle/checkpoint/run_directory.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "tulle/base/error_testing.h"
#include "tulle/base/file_ops_testing.h"

namespace tulle {
namespace {

using testing::FailingFileOps;
using testing::kind_thrown_by;
using testing::TemporaryDirectory;
using testing::write_text;
using Names = std::vector<std::string>;

std::vector<std::int64_t> steps(const std::vector<CheckpointFile>& checkpoints) {
  std::vector<std::int64_t> steps;
  for (const CheckpointFile& checkpoint : checkpoints) steps.push_back(checkpoint.step);
  return steps;
}

TEST(RunDirectory, IsCreatedWithItsParents) {
  const TemporaryDirectory directory;
  RunDirectory::open(directory / "a/b/run");
  EXPECT_TRUE(std::filesystem::is_directory(directory / "a/b/run"));
  RunDirectory::open(directory / "a/b/run/");  // and opened when it is there
}

TEST(RunDirectory, EveryDirectoryItCreatesIsSyncedIntoItsParent) {
  struct SyncCounter : FileOps {
    int fsync(int file) override {
      ++calls;
      return FileOps::fsync(file);
    }
    int calls = 0;
  } files;
  const TemporaryDirectory directory;
  RunDirectory::open(directory / "a/b/run", files);
  EXPECT_EQ(files.calls, 3);
  RunDirectory::open(directory / "a/b/run", files);
  EXPECT_EQ(files.calls, 3);
}

TEST(RunDirectory, NamesCheckpointsByTheirStepWithAtLeastSixDigits) {
  const TemporaryDirectory directory;
  const RunDirectory run = RunDirectory::open(directory.path());
  EXPECT_EQ(run.checkpoint_path(123), directory / "ckpt-000123.safetensors");
  EXPECT_EQ(run.checkpoint_path(1234567), directory / "ckpt-1234567.safetensors");
  EXPECT_THROW(run.checkpoint_path(-1), std::invalid_argument);
}

TEST(RunDirectory, ListsCheckpointsByNumberNewestFirstAndNothingElse) {
  const TemporaryDirectory directory;
  const RunDirectory run = RunDirectory::open(directory.path());
  for (const std::int64_t step : {999999, 5, 1000000}) write_text(run.checkpoint_path(step), "");
  for (const char* name : {"ckpt-7.safetensors", "ckpt-000008.safetensors.bak", "ckpt--00009.safetensors",
                           "ckpt-.safetensors", "ckpt-99999999999999999999.safetensors", "model.safetensors"})
    write_text(directory / name, "");
  std::filesystem::create_directory(run.checkpoint_path(10));
  std::filesystem::create_symlink("ckpt-000005.safetensors", run.checkpoint_path(11));
  EXPECT_EQ(steps(run.checkpoints()), (std::vector<std::int64_t>{1000000, 999999, 5}));
  EXPECT_EQ(run.checkpoints().back().path, run.checkpoint_path(5));
}

TEST(RunDirectory, AMissingOneIsMissingInputForAReader) {
  const TemporaryDirectory directory;
  EXPECT_EQ(kind_thrown_by([&] { list_checkpoints(directory / "none"); }), ErrorKind::kMissingInput);
}

TEST(RunDirectory, PruningKeepsTheNewestOnesTheProtectedAndAnyLaterThanTheSavedStep) {
  const TemporaryDirectory directory;
  const RunDirectory run = RunDirectory::open(directory.path());
  for (const std::int64_t step : {1, 2, 3, 4, 5, 90, 91}) write_text(run.checkpoint_path(step), "");
  const std::vector<std::int64_t> best{2};
  run.prune(5, 3, best);
  EXPECT_EQ(steps(run.checkpoints()), (std::vector<std::int64_t>{91, 90, 5, 4, 3, 2}));
  run.prune(5, 0);  // means 2
  EXPECT_EQ(steps(run.checkpoints()), (std::vector<std::int64_t>{91, 90, 5, 4}));
}

TEST(RunDirectory, ASecondTrainingInTheSameOneIsRefusedUntilTheFirstEnds) {
  const TemporaryDirectory directory;
  {
    const RunDirectory run = RunDirectory::open(directory.path());
    try {
      RunDirectory::open(directory.path());
      ADD_FAILURE() << "nothing thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kTemporary);
      EXPECT_EQ(error.place().file, directory.path());
    }
  }
  RunDirectory::open(directory.path());
}

TEST(RunDirectory, TheClaimOfAnotherProcessHoldsAndEndsWithIt) {
  const TemporaryDirectory directory;
  int claimed[2], release[2];
  ASSERT_EQ(::pipe(claimed), 0);
  ASSERT_EQ(::pipe(release), 0);
  const pid_t child = ::fork();
  char signal = 0;
  if (child == 0) {
    const RunDirectory run = RunDirectory::open(directory.path());
    const bool told = ::write(claimed[1], "c", 1) == 1 && ::read(release[0], &signal, 1) == 1;
    ::_exit(told ? 0 : 1);
  }
  ASSERT_EQ(::read(claimed[0], &signal, 1), 1);
  EXPECT_EQ(kind_thrown_by([&] { RunDirectory::open(directory.path()); }), ErrorKind::kTemporary);
  ASSERT_EQ(::write(release[1], "r", 1), 1);
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  RunDirectory::open(directory.path());
}

TEST(RunDirectory, OpeningRemovesTemporariesOfDeadProcessesOnly) {
  const TemporaryDirectory directory;
  const pid_t dead = ::fork();
  if (dead == 0) ::_exit(0);
  ::waitpid(dead, nullptr, 0);
  const std::string alive = ".tmp-" + std::to_string(::getppid()) + "-0a";
  write_text(directory / (".tmp-" + std::to_string(dead) + "-0a"), "");
  write_text(directory / alive, "");
  RunDirectory::open(directory.path());
  EXPECT_EQ(directory.names(), (Names{".claim", alive}));
}

TEST(RunDirectory, OpeningMakesNoTemporaryBeforeTheAbandonedOneIsGone) {
  struct Watch : FileOps {
    int openat(int folder, const char* name, int flags, mode_t mode) override {
      if (std::string_view(name).starts_with(".tmp-"))
        abandoned_were_there += std::filesystem::exists(abandoned);
      return FileOps::openat(folder, name, flags, mode);
    }
    std::string abandoned;
    int abandoned_were_there = 0;
  } files;
  const TemporaryDirectory directory;
  const pid_t dead = ::fork();
  if (dead == 0) ::_exit(0);
  ::waitpid(dead, nullptr, 0);
  files.abandoned = directory / (".tmp-" + std::to_string(dead) + "-0a");
  write_text(files.abandoned, "");
  RunDirectory::open(directory.path(), files);
  EXPECT_EQ(files.abandoned_were_there, 0) << "killed at that moment it would leave two";
}

TEST(RunDirectory, NeedsRoomForTwoCheckpoints) {
  struct LittleSpace : FileOps {
    int free_bytes(int, std::uint64_t* bytes) override {
      *bytes = 1000;
      return 0;
    }
  } files;
  const TemporaryDirectory directory;
  const RunDirectory run = RunDirectory::open(directory.path(), files);
  run.check_space(500);
  for (const std::uint64_t bytes : {std::uint64_t{501}, ~std::uint64_t{0}})
    EXPECT_EQ(kind_thrown_by([&] { run.check_space(bytes); }), ErrorKind::kCannotWrite);
}

TEST(RunDirectory, ThatIsReadOnlyIsAQuestionOfPermission) {
  struct ReadOnly : FileOps {  // root may write anywhere, hence not by chmod
    int openat(int directory, const char* name, int flags, mode_t mode) override {
      if ((flags & O_CREAT) == 0) return FileOps::openat(directory, name, flags, mode);
      errno = error_number;
      return -1;
    }
    int error_number = EACCES;
  } files;
  const TemporaryDirectory directory;
  EXPECT_EQ(kind_thrown_by([&] { RunDirectory::open(directory.path(), files); }), ErrorKind::kPermission);
  files.error_number = EROFS;
  EXPECT_EQ(kind_thrown_by([&] { RunDirectory::open(directory.path(), files); }), ErrorKind::kPermission);
}

TEST(RunDirectory, AFileInItsPlaceCannotBeWrittenInto) {
  const TemporaryDirectory directory;
  write_text(directory / "file", "");
  for (const char* path : {"file", "file/run"})
    EXPECT_EQ(kind_thrown_by([&] { RunDirectory::open(directory / path); }), ErrorKind::kCannotWrite) << path;
}

TEST(RunDirectory, AClaimFileThatIsALinkIsNotFollowed) {
  const TemporaryDirectory directory;
  std::filesystem::create_symlink("elsewhere", directory / ".claim");
  EXPECT_EQ(kind_thrown_by([&] { RunDirectory::open(directory.path()); }), ErrorKind::kCannotWrite);
  EXPECT_FALSE(std::filesystem::exists(directory / "elsewhere"));
}

TEST(RunDirectory, AFaultAtAnyCallIsAnErrorAndAnInterruptionIsNone) {
  for (const int error_number : {EIO, EINTR}) {
    for (int call = 1;; ++call) {
      SCOPED_TRACE(call);
      const TemporaryDirectory directory;
      FailingFileOps files(call, error_number);
      bool failed = false;
      try {
        const RunDirectory run = RunDirectory::open(directory / "run", files);
        run.check_space(1);
        for (const std::int64_t step : {1, 2, 3}) write_text(run.checkpoint_path(step), "");
        run.prune(3, 2);
        EXPECT_EQ(steps(list_checkpoints(run.path())), (std::vector<std::int64_t>{3, 2}));
      } catch (const Error& error) {
        failed = true;
        EXPECT_EQ(error.kind(), ErrorKind::kIo) << error.what();
      }
      EXPECT_FALSE(failed && error_number == EINTR);
      if (!files.reached()) {
        EXPECT_FALSE(failed);
        break;
      }
    }
  }
}

}  // namespace
}  // namespace tulle
