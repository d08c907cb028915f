#pragma once

// For tests only: whether a training takes what its plan says.

#include <gtest/gtest.h>

#include "tulle/report/memory.h"
#include "tulle/train/plan.h"
#include "tulle/train/train_testing.h"

namespace tulle::testing {

/// Trains, and expects the process to grow by `planned` bytes: at most 5 % and 64 MB more. Nothing is looked
/// at under sanitizers, which take memory of their own, or where the system does not tell.
inline void expect_memory(const Config& config, const Dataset& data, std::int64_t planned) {
#ifndef TULLE_SANITIZED
  const MemoryGrowth memory;
  tulle::Run run = start_run(config, data);
  Observer nobody;
  Signals none;
  train(run, data, nullptr, nobody, none);
  const std::int64_t found = memory.peak();
  if (found == 0) GTEST_SKIP() << "this system does not tell the memory of a process";
  EXPECT_LE(found, static_cast<double>(planned) * 1.05 + 64e6);
  EXPECT_GE(found, static_cast<double>(planned) * 0.7 - 16e6);
#else
  (void)config, (void)data, (void)planned;
#endif
}

}  // namespace tulle::testing
