#include "tulle/kernels/gemm.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <csignal>
#include <thread>

#include "tulle/base/parallel.h"
#include "tulle/kernels/test_problem.h"

namespace tulle::kernels {
namespace {

struct Operands {
  std::int64_t m, n, k;
  bool transpose_a, transpose_b;
  std::int64_t gap;  // between rows in memory
  std::int64_t a_stride = (transpose_a ? m : k) + gap;
  std::int64_t b_stride = (transpose_b ? k : n) + gap;
  std::int64_t c_stride = n + gap;
  Guarded<float> a = Guarded<float>((transpose_a ? k : m) * a_stride);
  Guarded<float> b = Guarded<float>((transpose_b ? n : k) * b_stride);

  void multiply(bool add, Guarded<float>& c) const {
    gemm(transpose_a, transpose_b, m, n, k, a.data(), a_stride, b.data(), b_stride, add, c.data(), c_stride);
  }
};

Operands make_operands(std::int64_t m, std::int64_t n, std::int64_t k, int transposed, std::int64_t gap,
                       Dice& dice) {
  Operands o{.m = m,
             .n = n,
             .k = k,
             .transpose_a = (transposed & 1) != 0,
             .transpose_b = (transposed & 2) != 0,
             .gap = gap};
  for (float& v : o.a.all()) v = dice.value();
  for (float& v : o.b.all()) v = dice.value();
  return o;
}

constexpr std::int64_t kShapes[][3] = {{1, 1, 1},     {1, 5, 3},     {5, 1, 3},    {2, 3, 1},
                                       {16, 16, 16},  {17, 31, 63},  {64, 32, 70}, {1, 64, 1000},
                                       {64, 1, 1000}, {128, 33, 300}};

TEST(Gemm, EqualsTheDoubleSumWithinItsRoundingErrors) {
  Dice dice;
  for (const auto& [m, n, k] : kShapes) {
    for (int transposed = 0; transposed < 4; ++transposed) {
      for (const bool add : {false, true}) {
        SCOPED_TRACE(::testing::Message() << gemm_library() << ' ' << m << " x " << n << " x " << k
                                          << ", transposed " << transposed << ", add " << add);
        const Operands o = make_operands(m, n, k, transposed, 3, dice);
        Guarded<float> c(m * o.c_stride);
        for (float& v : c.all()) v = add ? dice.value() : NAN;  // what is overwritten is not read
        const Guarded<float> before = c;
        o.multiply(add, c);
        const auto expected = reference::gemm(o.transpose_a, o.transpose_b, m, n, k, o.a.data(), o.a_stride,
                                              o.b.data(), o.b_stride, add, before.data(), o.c_stride);
        for (std::int64_t i = 0; i < m; ++i) {
          for (std::int64_t j = 0; j < o.c_stride; ++j) {
            const auto place = static_cast<std::size_t>(i * o.c_stride + j);
            if (j >= n) {
              ASSERT_TRUE(std::memcmp(&c[place], &before[place], sizeof(float)) == 0) << "wrote into a gap";
              continue;
            }
            const reference::Sum& sum = expected[static_cast<std::size_t>(i * n + j)];
            ASSERT_NEAR(c[place], sum.value, sum.bound());
          }
        }
        EXPECT_TRUE(c.guards_intact());
      }
    }
  }
}

TEST(Gemm, AnEmptySumIsZeroOrWhatWasThere) {
  const Guarded<float> nothing(8);
  for (const bool add : {false, true}) {
    Guarded<float> c(2 * 5, 7.0f);
    gemm(false, false, 2, 3, 0, nothing.data(), 1, nothing.data(), 3, add, c.data(), 5);
    for (std::size_t i = 0; i < 10; ++i) EXPECT_EQ(c[i], add || i % 5 >= 3 ? 7.0f : 0.0f);
  }
}

TEST(Gemm, NaNStaysInItsRowAndColumn) {
  Dice dice;
  for (int transposed = 0; transposed < 4; ++transposed) {
    Operands o = make_operands(20, 30, 40, transposed, 0, dice);
    o.a[static_cast<std::size_t>(o.transpose_a ? 4 * o.a_stride + 2 : 2 * o.a_stride + 4)] = NAN;  // A(2, 4)
    o.b[static_cast<std::size_t>(o.transpose_b ? 3 * o.b_stride + 4 : 4 * o.b_stride + 3)] = NAN;  // B(4, 3)
    Guarded<float> c(20 * 30);
    o.multiply(false, c);
    for (std::size_t i = 0; i < 20; ++i)
      for (std::size_t j = 0; j < 30; ++j) ASSERT_EQ(std::isnan(c[i * 30 + j]), i == 2 || j == 3);
  }
}

// In a process of its own: a heap that is damaged may end it anywhere. Products of this shape are long enough
// for signals to meet them.
void multiply_under_signals() {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &action, nullptr);
  const pthread_t worker = pthread_self();
  std::atomic<bool> done{false};
  std::thread sender([&] {
    while (!done) {
      pthread_kill(worker, SIGUSR1);
      std::this_thread::sleep_for(std::chrono::microseconds(300));
    }
  });
  constexpr std::int64_t kRows = 2000, kColumns = 64, kInner = 128;
  const std::vector<float> a(kRows * kInner, 1.0f), b(kColumns * kInner, 1.0f);
  std::vector<float> c(kRows * kColumns);
  for (int i = 0; i < 3000; ++i)
    gemm(false, true, kRows, kColumns, kInner, a.data(), kInner, b.data(), kInner, false, c.data(), kColumns);
  done = true;
  sender.join();
  std::exit(c[0] == static_cast<float>(kInner) ? 0 : 1);
}

TEST(GemmDeathTest, SignalsDoNotDamageTheHeap) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(multiply_under_signals(), ::testing::ExitedWithCode(0), "");
}

TEST(Gemm, HasTheSameBitsInsideAndOutsideAParallelPart) {
  // A library that starts threads of its own outside parallel regions would sum in another order there.
  Dice dice;
  set_thread_count(2);
  for (const auto& [m, n, k] :
       {std::array{1, 1000, 1000}, {1000, 1, 1000}, {128, 1000, 784}, {64, 32, 784}}) {
    for (int transposed = 0; transposed < 4; ++transposed) {
      const Operands o = make_operands(m, n, k, transposed, 0, dice);
      Guarded<float> outside(std::int64_t{m} * n), inside(std::int64_t{m} * n), other(std::int64_t{m} * n);
      o.multiply(false, outside);
      parallel_parts(2, [&](int part) { o.multiply(false, part == 0 ? inside : other); });
      EXPECT_TRUE(inside.same_bits(outside))
          << m << " x " << n << " x " << k << ", transposed " << transposed;
      EXPECT_TRUE(other.same_bits(outside));
    }
  }
  set_thread_count(0);
}

}  // namespace
}  // namespace tulle::kernels
