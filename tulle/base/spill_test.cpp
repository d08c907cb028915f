#include "tulle/base/spill.h"

#include <gtest/gtest.h>

#include <numeric>
#include <optional>
#include <thread>

#include "tulle/base/aligned.h"
#include "tulle/base/file_ops_testing.h"

namespace tulle {
namespace {

using testing::TemporaryDirectory;

constexpr std::size_t kMany = 300'001;  // 1.2 MB, not whole pages

std::span<const std::byte> part_of(const AlignedVector<int>& array, std::size_t first, std::size_t count) {
  return std::as_bytes(std::span(array).subspan(first, count));
}

TEST(Spilling, PutsLargeArraysIntoFilesWithoutNamesAndSmallOnesIntoMemory) {
  const TemporaryDirectory folder;
  const Spilling files(folder.path());
  const AlignedVector<int> large(kMany, 1), small(100, 1);
  EXPECT_TRUE(is_spilled(large.data()));
  EXPECT_FALSE(is_spilled(small.data()));
  EXPECT_TRUE(folder.names().empty());
}

TEST(Spilling, EndsWithItsScopeAndItsThreadWhileArraysStay) {
  const TemporaryDirectory folder;
  std::optional<Spilling> files(folder.path());
  EXPECT_TRUE(spilling());
  std::thread([] {
    EXPECT_FALSE(spilling());
    EXPECT_FALSE(is_spilled(AlignedVector<int>(kMany).data()));
  }).join();
  {
    const Spilling none("");
    EXPECT_FALSE(spilling());
    EXPECT_FALSE(is_spilled(AlignedVector<int>(kMany).data()));
  }
  AlignedVector<int> inside(kMany, 7);
  files.reset();
  EXPECT_FALSE(spilling());
  const AlignedVector<int> outside(kMany);
  EXPECT_FALSE(is_spilled(outside.data()));
  EXPECT_TRUE(is_spilled(inside.data()));
  inside = AlignedVector<int>();
  EXPECT_FALSE(is_spilled(inside.data()));
}

TEST(Spilling, KeepsWhatWasWrittenWhenItsMemoryIsGivenBack) {
  const TemporaryDirectory folder;
  const Spilling files(folder.path());
  AlignedVector<int> array(kMany);
  std::iota(array.begin(), array.end(), 5);
  write_back(part_of(array, 0, kMany / 2));
  release(part_of(array, 1000, 200'000));
  ask_for(part_of(array, 0, kMany));
  release(part_of(array, kMany - 3, 3));
  release_spilled();
  AlignedVector<int> expected(kMany);
  std::iota(expected.begin(), expected.end(), 5);
  EXPECT_EQ(array, expected);
}

TEST(Spilling, LeavesArraysInMemoryAlone) {
  AlignedVector<int> array(kMany, 3);
  ask_for(part_of(array, 0, kMany));
  write_back(part_of(array, 0, kMany));
  release(part_of(array, 0, kMany));
  EXPECT_EQ(array, AlignedVector<int>(kMany, 3));
}

TEST(Spilling, MakesItsFolder) {
  const TemporaryDirectory folder;
  const Spilling files(folder / "spill");
  EXPECT_TRUE(is_spilled(AlignedVector<int>(kMany).data()));
  EXPECT_EQ(folder.names(), std::vector<std::string>{"spill"});
}

TEST(Spilling, UsesAFolderThatAnotherMakesAtTheSameMoment) {
  const TemporaryDirectory folder;
  class Late : public FileOps {
    int mkdir(const char* path) override {
      EXPECT_EQ(FileOps::mkdir(path), 0);  // the other's
      return FileOps::mkdir(path);
    }
  } files;
  const Spilling spilling(folder / "spill", files);
  EXPECT_TRUE(is_spilled(AlignedVector<int>(kMany).data()));
}

ErrorKind refused(const std::string& folder, FileOps& files = real_file_ops()) {
  try {
    const Spilling spilling(folder, files);
    const AlignedVector<int> array(kMany);
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(folder), std::string::npos) << error.what();
    EXPECT_FALSE(spilling());
    return error.kind();
  }
  ADD_FAILURE() << "not refused";
  return ErrorKind::kInternal;
}

TEST(Spilling, IsRefusedWhereThereIsNoFolder) {
  const TemporaryDirectory folder;
  EXPECT_EQ(refused(folder / "none/below"), ErrorKind::kCannotWrite);
  testing::write_text(folder / "file", "text");
  EXPECT_EQ(refused(folder / "file"), ErrorKind::kCannotWrite);
}

TEST(Spilling, TellsAFullDiskWhenAnArrayIsTaken) {
  const TemporaryDirectory folder;
  struct : FileOps {
    int fallocate(int, off_t) override {
      errno = ENOSPC;
      return -1;
    }
  } full;
  EXPECT_EQ(refused(folder.path(), full), ErrorKind::kCannotWrite);
}

}  // namespace
}  // namespace tulle
