#include "tulle/report/memory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tulle/checkpoint/model_testing.h"

namespace tulle::testing {
namespace {

constexpr std::size_t kBlock = 64 << 10,
                      kBlocks = 512;  // small enough for the heap, which keeps what is freed

// The last block stays: the heap behind it cannot shrink by itself.
std::unique_ptr<char[]> use_and_free() {
  std::vector<std::unique_ptr<char[]>> blocks;
  for (std::size_t b = 0; b < kBlocks; ++b) {
    blocks.push_back(std::make_unique_for_overwrite<char[]>(kBlock));
    for (std::size_t i = 0; i < kBlock; i += 512) static_cast<volatile char&>(blocks.back()[i]) = 1;
  }
  return std::move(blocks.back());
}

class Growth : public ::testing::Test {
 protected:
  void SetUp() override {
#ifdef TULLE_SANITIZED
    GTEST_SKIP() << "sanitizers take memory of their own";
#endif
    if (current_rss_bytes() == 0) GTEST_SKIP() << "this system does not tell the memory of a process";
  }
};

TEST_F(Growth, CountsWhatWasFreeAndIsUsedAgain) {
  const auto behind = use_and_free();
  const MemoryGrowth growth;
  const auto behind_again = use_and_free();
  EXPECT_GT(growth.peak(), static_cast<std::int64_t>(kBlock * kBlocks * 3 / 4));
}

TEST_F(Growth, IsThatOfTheLargestMomentSinceThen) {
  const auto behind = use_and_free();
  const MemoryGrowth growth;
  EXPECT_LT(growth.peak(), static_cast<std::int64_t>(kBlock * kBlocks / 4));
}

TEST_F(Growth, DoesNotCountPagesOfFiles) {
  const TemporaryDirectory folder;
  const std::string path = folder / "pages";
  std::ofstream(path) << std::string(kBlock * kBlocks, 'x');
  const int file = open(path.c_str(), O_RDONLY);
  const MemoryGrowth growth;
  auto* const pages =
      static_cast<const volatile char*>(mmap(nullptr, kBlock * kBlocks, PROT_READ, MAP_PRIVATE, file, 0));
  ASSERT_NE(pages, MAP_FAILED);
  for (std::size_t i = 0; i < kBlock * kBlocks; i += 4096) (void)pages[i];
  EXPECT_LT(growth.peak(), static_cast<std::int64_t>(kBlock * kBlocks / 4));
  munmap(const_cast<char*>(pages), kBlock * kBlocks);
  close(file);
}

}  // namespace
}  // namespace tulle::testing
