#include "tulle/checkpoint/atomic_file.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "tulle/base/error_testing.h"
#include "tulle/base/file_ops_testing.h"

namespace tulle {
namespace {

using testing::FailingFileOps;
using testing::kind_thrown_by;
using testing::read_text;
using testing::TemporaryDirectory;
using testing::write_text;

const std::string kOld = "old";
const std::string kNew = "new and longer";

void save(const std::string& path, FileOps& files = real_file_ops(), std::string_view text = kNew) {
  const auto bytes = std::as_bytes(std::span(text));
  const std::span<const std::byte> pieces[] = {bytes.first(4), {}, bytes.subspan(4)};
  write_file_atomically(path, pieces, files);
}

TEST(AtomicFile, WritesAllPiecesAndLeavesNoTemporary) {
  const TemporaryDirectory directory;
  save(directory / "file");
  EXPECT_EQ(read_text(directory / "file"), kNew);
  EXPECT_EQ(directory.names(), std::vector<std::string>{"file"});
}

TEST(AtomicFile, HasTheModeOfAnOrdinaryNewFile) {
  const TemporaryDirectory directory;
  const mode_t before = ::umask(027);
  save(directory / "file");
  ::umask(before);
  EXPECT_EQ(std::filesystem::status(directory / "file").permissions(), std::filesystem::perms(0640));
}

TEST(AtomicFile, ReplacesASymbolicLinkAndNotWhatItPointsTo) {
  const TemporaryDirectory directory;
  write_text(directory / "target", kOld);
  std::filesystem::create_symlink("target", directory / "link");
  save(directory / "link");
  EXPECT_FALSE(std::filesystem::is_symlink(directory / "link"));
  EXPECT_EQ(read_text(directory / "link"), kNew);
  EXPECT_EQ(read_text(directory / "target"), kOld);
}

TEST(AtomicFile, TakesNoPlaceOfADeviceOrPipe) {
  const TemporaryDirectory directory;
  ASSERT_EQ(::mkfifo((directory / "pipe").c_str(), 0600), 0);
  std::filesystem::create_symlink("/dev/null", directory / "link");
  for (const char* name : {"pipe", "link"}) {
    EXPECT_EQ(kind_thrown_by([&] { save(directory / name); }), ErrorKind::kCannotWrite) << name;
    EXPECT_FALSE(std::filesystem::is_regular_file(directory / name));
  }
  EXPECT_EQ(directory.names(), (std::vector<std::string>{"link", "pipe"})) << "no temporary either";
}

TEST(AtomicFile, TakesAnyNameOfAFile) {
  const TemporaryDirectory directory;
  for (const std::string& name :
       {std::string("with blank\nand line"), std::string("\xc3\xa4"), std::string(255, 'x')}) {
    save(directory / name);
    EXPECT_EQ(read_text(directory / name), kNew);
  }
}

TEST(AtomicFile, AMissingDirectoryCannotBeWrittenInto) {
  const TemporaryDirectory directory;
  for (const std::string& path : {directory / "none/file", directory / "", directory.path()}) {
    try {
      save(path);
      ADD_FAILURE() << path;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kCannotWrite) << error.what();
    }
  }
  EXPECT_TRUE(directory.names().empty());
}

struct Fault {
  int error_number;
  ErrorKind kind;
};

class EveryWriteFault : public ::testing::TestWithParam<Fault> {};

TEST_P(EveryWriteFault, AtAnyCallLeavesTheOldFileOrTheNewOneAndNoTemporary) {
  const TemporaryDirectory directory;
  const std::string path = directory / "file";
  for (int call = 1;; ++call) {
    SCOPED_TRACE(call);
    write_text(path, kOld);
    FailingFileOps files(call, GetParam().error_number);
    bool failed = false;
    try {
      save(path, files);
    } catch (const Error& error) {
      failed = true;
      EXPECT_EQ(error.kind(), GetParam().kind) << error.what();
      EXPECT_EQ(error.place().file, path);
    }
    EXPECT_EQ(directory.names(), std::vector<std::string>{"file"});
    const std::string found = read_text(path);
    EXPECT_TRUE(found == kNew || (failed && found == kOld)) << found;
    if (!files.reached()) {
      EXPECT_FALSE(failed);
      EXPECT_GT(call, 10);  // open, open, reserve, 2 writes, mode, sync, close, rename, sync, close
      break;
    }
  }
}

TEST_P(EveryWriteFault, FromAnyCallOnLeavesTheOldFileOrTheNewOne) {
  const TemporaryDirectory directory;
  const std::string path = directory / "file";
  for (int call = 1; call <= 11; ++call) {
    write_text(path, kOld);
    FailingFileOps files(call, GetParam().error_number, /*from_then_on=*/true);
    try {
      save(path, files);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), GetParam().kind) << error.what();
    }
    const std::string found = read_text(path);
    EXPECT_TRUE(found == kOld || found == kNew) << found;
  }
}

INSTANTIATE_TEST_SUITE_P(Faults, EveryWriteFault,
                         ::testing::Values(Fault{ENOSPC, ErrorKind::kCannotWrite},
                                           Fault{EFBIG, ErrorKind::kCannotWrite},
                                           Fault{EDQUOT, ErrorKind::kCannotWrite},
                                           Fault{ENOENT, ErrorKind::kCannotWrite}, Fault{EIO, ErrorKind::kIo},
                                           Fault{EMFILE, ErrorKind::kIo},
                                           Fault{EACCES, ErrorKind::kPermission}));

TEST(AtomicFile, InterruptedOrShortCallsGiveTheSameFile) {
  const TemporaryDirectory directory;
  const std::string path = directory / "file";
  for (const int error : {EINTR, FailingFileOps::kShortCount}) {
    for (int call = 1;; ++call) {
      write_text(path, kOld);
      FailingFileOps files(call, error);
      save(path, files);
      EXPECT_EQ(read_text(path), kNew) << "call " << call;
      EXPECT_EQ(directory.names(), std::vector<std::string>{"file"});
      if (!files.reached()) break;
    }
  }
}

TEST(AtomicFile, AnErrorOfSyncIsFinal) {
  struct SyncFails : FileOps {
    int fsync(int) override {
      ++calls;
      errno = EIO;
      return -1;
    }
    int calls = 0;
  } files;
  const TemporaryDirectory directory;
  EXPECT_THROW(save(directory / "file", files), Error);
  EXPECT_EQ(files.calls, 1);
  EXPECT_TRUE(directory.names().empty());
}

TEST(AtomicFile, DoesWithoutReservationWhereThereIsNone) {
  struct NoReservation : FileOps {
    int fallocate(int, off_t) override {
      errno = EOPNOTSUPP;
      return -1;
    }
  } files;
  const TemporaryDirectory directory;
  save(directory / "file", files);
  EXPECT_EQ(read_text(directory / "file"), kNew);
}

TEST(AtomicFile, TheSystemsLimitOnFileSizesLeavesTheOldFile) {
  const TemporaryDirectory directory;
  const std::string path = directory / "file";
  write_text(path, kOld);
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1000, 1000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    try {
      save(path, real_file_ops(), std::string(2000, 'x'));
    } catch (const Error& error) {
      ::_exit(error.kind() == ErrorKind::kCannotWrite ? 0 : 2);
    }
    ::_exit(1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(read_text(path), kOld);
  EXPECT_EQ(directory.names(), std::vector<std::string>{"file"});
}

TEST(AbandonedTemporary, IsOneOfADeadProcessOrOfOurOwnNumber) {
  const pid_t dead = ::fork();
  if (dead == 0) ::_exit(0);
  ::waitpid(dead, nullptr, 0);
  EXPECT_TRUE(is_abandoned_temporary(".tmp-" + std::to_string(dead) + "-0a"));
  EXPECT_TRUE(is_abandoned_temporary(temporary_name()));
  EXPECT_FALSE(is_abandoned_temporary(".tmp-" + std::to_string(::getppid()) + "-0a"));
  for (const char* name :
       {".tmp-", ".tmp-1x", ".tmp--1-0a", ".tmp-0-0a", ".tmp-x-0a", "tmp-1-0a", ".tmp-4194305"})
    EXPECT_FALSE(is_abandoned_temporary(name)) << name;
}

}  // namespace
}  // namespace tulle
