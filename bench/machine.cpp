#include "bench/machine.h"

#include <algorithm>
#include <vector>

#include "tulle/base/aligned.h"
#include "tulle/base/clock.h"
#include "tulle/base/parallel.h"
#include "tulle/base/random.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/machine.cpp"
#include <hwy/foreach_target.h>  // compiles this file once per target

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace tulle::bench::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, 16>;

// The compiler must keep every multiply-add and every accumulator in its register.
#define TULLE_OPAQUE(vector) asm volatile("" : "+v"((vector).raw))

// 16 independent chains hide the latency of 4 cycles at 2 per cycle. Returns the flop done.
double FmaLoop(std::size_t rounds, float* out) {
  const Floats d;
  auto a0 = hn::Set(d, 0.1f), a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0, a6 = a0, a7 = a0;
  auto b0 = a0, b1 = a0, b2 = a0, b3 = a0;
  const auto factor = hn::Set(d, 0.999f), term = hn::Set(d, 1e-3f);
  for (std::size_t i = 0; i < rounds; ++i) {
    a0 = hn::MulAdd(a0, factor, term), a1 = hn::MulAdd(a1, factor, term), a2 = hn::MulAdd(a2, factor, term);
    a3 = hn::MulAdd(a3, factor, term), a4 = hn::MulAdd(a4, factor, term), a5 = hn::MulAdd(a5, factor, term);
    a6 = hn::MulAdd(a6, factor, term), a7 = hn::MulAdd(a7, factor, term), b0 = hn::MulAdd(b0, factor, term);
    b1 = hn::MulAdd(b1, factor, term), b2 = hn::MulAdd(b2, factor, term), b3 = hn::MulAdd(b3, factor, term);
    TULLE_OPAQUE(a0);
    TULLE_OPAQUE(a1);
    TULLE_OPAQUE(a2);
    TULLE_OPAQUE(a3);
    TULLE_OPAQUE(a4);
    TULLE_OPAQUE(a5);
    TULLE_OPAQUE(a6);
    TULLE_OPAQUE(a7);
    TULLE_OPAQUE(b0);
    TULLE_OPAQUE(b1);
    TULLE_OPAQUE(b2);
    TULLE_OPAQUE(b3);
  }
  auto sum = hn::Add(hn::Add(hn::Add(a0, a1), hn::Add(a2, a3)), hn::Add(hn::Add(a4, a5), hn::Add(a6, a7)));
  sum = hn::Add(sum, hn::Add(hn::Add(b0, b1), hn::Add(b2, b3)));
  out[0] = hn::GetLane(sum);
  return 12.0 * 2.0 * static_cast<double>(hn::Lanes(d)) * static_cast<double>(rounds);
}

// 12 chains of bfloat16 dot products. Returns the flop done, 0 where there are none.
double DotLoop(std::size_t rounds, float* out) {
#if HWY_TARGET <= HWY_AVX3
  const Floats d;
  auto a0 = hn::Zero(d), a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0, a6 = a0, a7 = a0, b0 = a0, b1 = a0,
       b2 = a0, b3 = a0;
  const auto x = hn::Zero(d);
  for (std::size_t i = 0; i < rounds; ++i)
    asm volatile(
        "vdpbf16ps %12, %12, %0\n\tvdpbf16ps %12, %12, %1\n\tvdpbf16ps %12, %12, %2\n\tvdpbf16ps %12, %12, "
        "%3\n\t"
        "vdpbf16ps %12, %12, %4\n\tvdpbf16ps %12, %12, %5\n\tvdpbf16ps %12, %12, %6\n\tvdpbf16ps %12, %12, "
        "%7\n\t"
        "vdpbf16ps %12, %12, %8\n\tvdpbf16ps %12, %12, %9\n\tvdpbf16ps %12, %12, %10\n\tvdpbf16ps %12, %12, "
        "%11"
        : "+v"(a0.raw), "+v"(a1.raw), "+v"(a2.raw), "+v"(a3.raw), "+v"(a4.raw), "+v"(a5.raw), "+v"(a6.raw),
          "+v"(a7.raw), "+v"(b0.raw), "+v"(b1.raw), "+v"(b2.raw), "+v"(b3.raw)
        : "v"(x.raw));
  out[0] = hn::GetLane(a0);
  return 12.0 * 4.0 * static_cast<double>(hn::Lanes(d)) * static_cast<double>(rounds);
#else
  (void)rounds;
  out[0] = 0.0f;
  return 0.0;
#endif
}

// Sums chunks of 128 floats in the order of `chunks`.
float ReadLoop(const float* HWY_RESTRICT data, const std::uint32_t* chunks, std::size_t count) {
  const Floats d;
  auto s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  const std::size_t lanes = hn::Lanes(d);
  for (std::size_t c = 0; c < count; ++c) {
    const float* HWY_RESTRICT chunk = data + std::size_t{chunks[c]} * 128;
    for (std::size_t i = 0; i < 128; i += 4 * lanes) {
      s0 = hn::Add(s0, hn::Load(d, chunk + i));
      s1 = hn::Add(s1, hn::Load(d, chunk + i + lanes));
      s2 = hn::Add(s2, hn::Load(d, chunk + i + 2 * lanes));
      s3 = hn::Add(s3, hn::Load(d, chunk + i + 3 * lanes));
    }
  }
  return hn::GetLane(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)));
}

}  // namespace tulle::bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tulle::bench {

HWY_EXPORT(FmaLoop);
HWY_EXPORT(DotLoop);
HWY_EXPORT(ReadLoop);

namespace {

// loop(rounds, sink) on every thread, the best of several; GFLOP/s.
template <class Loop>
double best_rate(const Loop& loop) {
  double best = 0.0;
  std::vector<double> flop(static_cast<std::size_t>(thread_count()));
  for (int repeat = 0; repeat < 7; ++repeat) {
    const Clock clock;
    parallel_parts(thread_count(), [&](int part) {
      float sink[16];
      flop[static_cast<std::size_t>(part)] = loop(std::size_t{2000000}, sink);
    });
    double sum = 0.0;
    for (const double f : flop) sum += f;
    best = std::max(best, sum / clock.seconds() * 1e-9);
  }
  return best;
}

}  // namespace

double fma_peak() {
  return best_rate(
      [](std::size_t rounds, float* sink) { return HWY_DYNAMIC_DISPATCH(FmaLoop)(rounds, sink); });
}

double bf16_dot_peak() {
#if HWY_ARCH_X86
  if (__builtin_cpu_supports("avx512bf16") == 0) return 0.0;
#endif
  return best_rate(
      [](std::size_t rounds, float* sink) { return HWY_DYNAMIC_DISPATCH(DotLoop)(rounds, sink); });
}

double read_bandwidth(std::size_t bytes_per_thread, bool random) {
  const auto threads = static_cast<std::size_t>(thread_count());
  const std::size_t chunks = bytes_per_thread / 512;
  std::vector<std::uint32_t> order = random_permutation(static_cast<std::uint32_t>(chunks), {.seed = 1});
  if (!random) std::sort(order.begin(), order.end());
  AlignedVector<float> data(threads * chunks * 128, 1.0f);
  const std::size_t passes = std::max<std::size_t>(1, (std::size_t{64} << 20) / bytes_per_thread);
  double best = 0.0;
  volatile float sink = 0.0f;
  for (int repeat = 0; repeat < 5; ++repeat) {
    const Clock clock;
    parallel_parts(thread_count(), [&](int part) {
      for (std::size_t pass = 0; pass < passes; ++pass)
        sink = HWY_DYNAMIC_DISPATCH(ReadLoop)(data.data() + static_cast<std::size_t>(part) * chunks * 128,
                                              order.data(), chunks);
    });
    const auto bytes = static_cast<double>(passes * chunks * 512 * threads);
    best = std::max(best, bytes / clock.seconds() * 1e-9);
  }
  return best;
}

}  // namespace tulle::bench
#endif
