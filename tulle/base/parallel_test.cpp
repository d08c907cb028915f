#include "tulle/base/parallel.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <numeric>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

namespace tulle {
namespace {

TEST(ParallelParts, RunsEveryPartOnce) {
  std::vector<int> runs(17, 0);
  parallel_parts(17, [&](int part) { ++runs[static_cast<std::size_t>(part)]; });
  EXPECT_EQ(runs, std::vector<int>(17, 1));
}

TEST(ParallelParts, CarriesAnExceptionToTheCallerAfterAllPartsAreDone) {
  EXPECT_THROW(parallel_parts(4,
                              [](int part) {
                                if (part == 2) throw std::runtime_error("part 2");
                              }),
               std::runtime_error);
}

TEST(ParallelParts, FlushesDenormalsInsideAndRestoresTheCallersModeAfter) {
  volatile float tiny = 1e-38f;
  parallel_parts(2, [&](int) { EXPECT_EQ(tiny * 0.01f, 0.0f); });
  EXPECT_NE(tiny * 0.01f, 0.0f);
}

TEST(ParallelParts, RunsEveryPartOnceWhenCalledFromWithinAPart) {
  std::vector<int> runs(12, 0);
  parallel_parts(3, [&](int outer) {
    parallel_parts(4, [&](int inner) { ++runs[static_cast<std::size_t>(4 * outer + inner)]; });
  });
  EXPECT_EQ(runs, std::vector<int>(12, 1));
}

TEST(ParallelParts, RunsEveryPartOnceWhenCalledFromManyThreads) {
  std::vector<std::int64_t> sums(4, 0);
  std::vector<std::thread> callers;
  for (std::int64_t& sum : sums)
    callers.emplace_back([&sum] {
      for (int round = 0; round < 2000; ++round) {
        std::vector<int> runs(5, 0);
        parallel_parts(5, [&](int part) { runs[static_cast<std::size_t>(part)] += part; });
        sum += std::accumulate(runs.begin(), runs.end(), 0);
      }
    });
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sums, std::vector<std::int64_t>(4, 20000));
}

// Shorter and longer than a thread waits awake.
TEST(ParallelParts, FindsItsThreadsAwakeAndAsleep) {
  for (int round = 0; round < 300; ++round) {
    std::atomic<int> runs{0};
    parallel_parts(3, [&](int part) {
      if (part == round % 3) std::this_thread::sleep_for(std::chrono::microseconds(round / 3));
      ++runs;
    });
    ASSERT_EQ(runs, 3);
    std::this_thread::sleep_for(std::chrono::microseconds(100 - round / 3));
  }
}

TEST(ParallelParts, RunsWithMoreThreadsThanCores) {
  set_thread_count(3 * available_cores());
  std::vector<int> runs(100, 0);
  for (int round = 0; round < 100; ++round)
    parallel_parts(100, [&](int part) { ++runs[static_cast<std::size_t>(part)]; });
  set_thread_count(0);
  EXPECT_EQ(runs, std::vector<int>(100, 100));
}

TEST(ParallelParts, RunsInAForkedChild) {
  std::atomic<int> runs{0};
  parallel_parts(2, [&](int) { ++runs; });
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    parallel_parts(2, [&](int) { ++runs; });
    _exit(runs == 4 ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(BalancedRows, GivesEachPartNearlyTheSameConnectionsAndCoversAllRows) {
  // Row r has r connections: equal row counts would give the last part most of the work.
  std::vector<std::int64_t> row_ptr(1001, 0);
  for (std::size_t r = 0; r < 1000; ++r) row_ptr[r + 1] = row_ptr[r] + static_cast<std::int64_t>(r);
  const auto bounds = balanced_rows(row_ptr, 4);
  ASSERT_EQ(bounds.front(), 0);
  ASSERT_EQ(bounds.back(), 1000);
  for (std::size_t part = 0; part < 4; ++part) {
    const auto links =
        row_ptr[static_cast<std::size_t>(bounds[part + 1])] - row_ptr[static_cast<std::size_t>(bounds[part])];
    EXPECT_NEAR(static_cast<double>(links), static_cast<double>(row_ptr.back()) / 4, 2000.0);
  }
}

TEST(EvenRange, PiecesAreContiguousAndCutAtTheGrain) {
  std::int64_t next = 0;
  for (int part = 0; part < 3; ++part) {
    const Range range = even_range(100, 3, part, 16);
    EXPECT_EQ(range.begin, next);
    EXPECT_TRUE(range.end % 16 == 0 || range.end == 100);
    next = range.end;
  }
  EXPECT_EQ(next, 100);
}

TEST(OwnThreads, AreThoseOfTheThreadThatMadeThemAndOfWhatItStarts) {
  set_thread_count(2);
  std::vector<std::jthread> replicas;
  for (int r = 0; r < 3; ++r)
    replicas.emplace_back([] {
      const OwnThreads own(4);
      EXPECT_EQ(thread_count(), 4);
      for (int turn = 0; turn < 100; ++turn) {
        std::atomic<int> done = 0;
        std::set<std::thread::id> ids;
        std::mutex mutex;
        parallel_parts(8, [&](int) {
          EXPECT_EQ(thread_count(), 4);
          parallel_ranges(3, 1, [&](Range range) { done += static_cast<int>(range.end - range.begin); });
          const std::lock_guard<std::mutex> lock(mutex);
          ids.insert(std::this_thread::get_id());
        });
        EXPECT_EQ(done, 24);
        EXPECT_LE(ids.size(), 4u);
      }
    });
  replicas.clear();
  EXPECT_EQ(thread_count(), 2);
  set_thread_count(0);
}

}  // namespace
}  // namespace tulle
