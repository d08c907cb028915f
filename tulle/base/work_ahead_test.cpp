#include "tulle/base/work_ahead.h"

#include <gtest/gtest.h>

#include <chrono>
#include <stdexcept>
#include <string>
#include <vector>

#include "tulle/base/parallel.h"

namespace tulle {
namespace {

TEST(WorkAhead, DoesEveryPieceOnceWhetherItIsWaitedForAtOnceOrLater) {
  for (const int pause : {0, 2}) {
    std::vector<int> runs(500, 0);
    WorkAhead work;
    for (int turn = 1; turn <= 20; ++turn) {
      work.start(std::ssize(runs), [&](std::int64_t i) { ++runs[static_cast<std::size_t>(i)]; });
      std::this_thread::sleep_for(std::chrono::milliseconds(pause));
      work.finish();
      EXPECT_EQ(runs, std::vector<int>(500, turn));
    }
  }
}

TEST(WorkAhead, IsDoneByItselfWithoutAnybodyWaiting) {
  std::atomic<int> done = 0;
  WorkAhead work;
  work.start(5, [&](std::int64_t) { ++done; });
  for (int i = 0; i < 5000 && done < 5; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(done, 5);
}

TEST(WorkAhead, ThrowsWhatTheFirstFailingPieceThrewAfterAllAreDone) {
  for (const int threads : {1, 4}) {
    set_thread_count(threads);
    WorkAhead work;
    std::atomic<int> done = 0;
    work.start(64, [&](std::int64_t i) {
      ++done;
      if (i % 10 == 7) throw std::runtime_error(std::to_string(i));
    });
    try {
      work.finish();
      ADD_FAILURE() << "nothing was thrown";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "7");
    }
    EXPECT_EQ(done, 64);
    work.start(1, [&](std::int64_t) { ++done; });  // and goes on
    work.finish();
    EXPECT_EQ(done, 65);
  }
  set_thread_count(0);
}

TEST(WorkAhead, LeavesAwayWhatHasNotBegun) {
  std::atomic<int> begun = 0;
  {
    WorkAhead work;
    work.start(1'000'000, [&](std::int64_t) {
      ++begun;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    });
    while (begun == 0) std::this_thread::yield();
  }
  EXPECT_LT(begun, 100'000);
}

TEST(WorkAhead, RefusesToBeginTwice) {
  WorkAhead work;
  work.start(1, [](std::int64_t) {});
  EXPECT_THROW(work.start(1, [](std::int64_t) {}), std::invalid_argument);
}

}  // namespace
}  // namespace tulle
