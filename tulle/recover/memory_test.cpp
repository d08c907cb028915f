// The promise: memory grows with the nonzeros and the samples, never with neurons times features.
#include <gtest/gtest.h>

#include <algorithm>

#include "tulle/base/allocations_testing.h"
#include "tulle/recover/recover_testing.h"

namespace tulle::testing {
namespace {

constexpr std::int64_t kSmallWorkspace = 4 << 20;

// Bytes at the peak beyond the data, on one thread: with more it depends on who is awake when.
std::int64_t peak_of(const char* method, std::int64_t m, std::int32_t d, std::int64_t s, std::int64_t n) {
  const Planted p(n, d, m, std::min<std::int64_t>(s, 200), 1);
  RecoverOptions options{
      .hidden_width = m, .nnz = s, .steps = 3, .starts = 6, .seed = 1, .workspace = kSmallWorkspace};
  const std::size_t before = g_live_bytes;
  g_peak_bytes = before;
  (void)with_threads(1, [&] { return recover(method, p.problem(), options); });
  return static_cast<std::int64_t>(g_peak_bytes - before);
}

class EveryLeanMethod : public ::testing::TestWithParam<const char*> {};

TEST_P(EveryLeanMethod, NeedsNoMoreForTwentyTimesAsManyNeurons) {
  const bool strong = std::string(GetParam()) == "strong";
  const std::int64_t narrow = peak_of(GetParam(), 1000, 200, 500, 200),
                     wide = peak_of(GetParam(), 20000, 200, 500, 200);
  EXPECT_LE(wide, narrow + narrow / 10);
  const std::int64_t s_max = strong ? 3 * 500 : 500;
  EXPECT_LE(wide, (1 << 20) + 32 * 200 + (128 + 64 + 8 * 16) * s_max + kSmallWorkspace);
}

TEST_P(EveryLeanMethod, AtMostDoublesWithTheNonzeros) {
  EXPECT_LE(peak_of(GetParam(), 1000, 200, 2000, 200), 2 * peak_of(GetParam(), 1000, 200, 1000, 200));
}

TEST_P(EveryLeanMethod, AtMostDoublesWithTheSamples) {
  EXPECT_LE(peak_of(GetParam(), 500, 200, 500, 2000), 2 * peak_of(GetParam(), 500, 200, 500, 1000));
}

INSTANTIATE_TEST_SUITE_P(Memory, EveryLeanMethod, ::testing::Values("iht", "aiht", "htp", "strong"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace tulle::testing
