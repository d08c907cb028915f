#include "tulle/base/file_ops.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tulle/base/error_testing.h"
#include "tulle/base/file_ops_testing.h"

namespace tulle {
namespace {

using testing::FailingFileOps;
using testing::kind_thrown_by;
using testing::TemporaryDirectory;
using testing::write_text;

std::string read_whole(const std::string& path, FileOps& files = real_file_ops()) {
  std::uint64_t size = 0;
  const FileHandle file = open_for_reading(files, path, &size);
  std::string text(size, '\0');
  read_exactly(files, file, path, 0, std::as_writable_bytes(std::span(text)));
  return text;
}

TEST(FileOps, InterruptedOrShortReadsGiveTheSameBytes) {
  const TemporaryDirectory directory;
  write_text(directory / "file", "0123456789");
  for (const int error : {EINTR, FailingFileOps::kShortCount}) {
    for (int call = 1;; ++call) {
      FailingFileOps files(call, error);
      EXPECT_EQ(read_whole(directory / "file", files), "0123456789") << "call " << call;
      if (!files.reached()) break;
    }
  }
}

TEST(FileOps, AReadErrorNamesTheFileAndIsAnIoError) {
  const TemporaryDirectory directory;
  write_text(directory / "file", "0123456789");
  for (int call = 1; call <= 3; ++call) {  // open, fstat, pread
    FailingFileOps files(call, EIO);
    try {
      read_whole(directory / "file", files);
      ADD_FAILURE() << "call " << call;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kIo);
      EXPECT_EQ(error.place().file, directory / "file");
    }
  }
}

TEST(FileOps, AFileThatShrinksWhileItIsReadIsBadData) {
  const TemporaryDirectory directory;
  const std::string path = directory / "file";
  write_text(path, "0123456789");
  std::uint64_t size = 0;
  const FileHandle file = open_for_reading(real_file_ops(), path, &size);
  std::filesystem::resize_file(path, 4);
  std::vector<std::byte> bytes(size);
  EXPECT_EQ(kind_thrown_by([&] { read_exactly(real_file_ops(), file, path, 0, bytes); }),
            ErrorKind::kBadData);
}

TEST(FileOps, OnlyRegularFilesAreReadAndNoneIsWaitedFor) {
  const TemporaryDirectory directory;
  const std::string pipe = directory / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  for (const std::string& path : {pipe, directory.path(), std::string("/dev/zero")})
    EXPECT_EQ(kind_thrown_by([&] { read_whole(path); }), ErrorKind::kBadData) << path;
  EXPECT_EQ(kind_thrown_by([&] { read_whole(directory / "none"); }), ErrorKind::kMissingInput);
}

TEST(FileOps, AListHoldsRegularFilesOnly) {
  const TemporaryDirectory directory;
  write_text(directory / "file", "");
  std::filesystem::create_directory(directory / "folder");
  std::filesystem::create_symlink("file", directory / "link");
  const FileHandle handle = open_file(real_file_ops(), AT_FDCWD, directory.path(), O_RDONLY | O_DIRECTORY);
  std::vector<std::string> names;
  ASSERT_EQ(real_file_ops().list(handle.get(), &names), 0);
  EXPECT_EQ(names, std::vector<std::string>{"file"});
}

TEST(FileOps, AMissingFileIsInputForReadingAndOutputForWriting) {
  EXPECT_EQ(system_error(ENOENT, "file", "open").kind(), ErrorKind::kMissingInput);
  EXPECT_EQ(write_error(ENOENT, "file", "create").kind(), ErrorKind::kCannotWrite);
  EXPECT_EQ(write_error(ENOSPC, "file", "write").kind(), ErrorKind::kCannotWrite);
  EXPECT_EQ(write_error(EACCES, "file", "create").kind(), ErrorKind::kPermission);
  EXPECT_EQ(write_error(EIO, "file", "write").kind(), ErrorKind::kIo);
}

TEST(FileHandle, ClosesOnceAndTakesAnInterruptedCloseAsDone) {
  const TemporaryDirectory directory;
  write_text(directory / "file", "");
  FailingFileOps files(2, EINTR);  // the first call opens
  FileHandle file = open_file(files, AT_FDCWD, directory / "file", O_RDONLY);
  ASSERT_TRUE(file);
  EXPECT_EQ(file.close(), 0);
  EXPECT_TRUE(files.reached());
  EXPECT_FALSE(file);
  EXPECT_EQ(file.close(), 0);
}

}  // namespace
}  // namespace tulle
