#pragma once

#include <cstddef>

namespace tulle::bench {

/// This machine's rates, measured now, on all threads of thread_count() together.

/// GFLOP/s of independent fused multiply-adds in registers, best instruction set.
double fma_peak();

/// The same of sums of products of bfloat16 pairs (vdpbf16ps); 0 where the processor has none.
double bf16_dot_peak();

/// GB/s of reading `bytes_per_thread` again and again, in order or in random chunks of 512 bytes (what a
/// sparse product at 128 samples does).
double read_bandwidth(std::size_t bytes_per_thread, bool random);

}  // namespace tulle::bench
