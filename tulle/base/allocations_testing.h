#pragma once

// For tests only: counts what the whole program allocates. To be included by one file of a test program
// alone, as it replaces the global operators.

#include <malloc.h>  // malloc_usable_size

#include <atomic>
#include <cstdlib>
#include <new>

namespace tulle::testing {

inline std::atomic<std::size_t> g_allocated_bytes{0}, g_allocations{0};  // ever asked for
inline std::atomic<std::size_t> g_live_bytes{0}, g_peak_bytes{0};        // now, and at most so far
inline std::atomic<std::size_t> g_largest_bytes{0};                      // of one array so far

inline void raise_to(std::atomic<std::size_t>& most, std::size_t value) noexcept {
  for (std::size_t known = most; known < value && !most.compare_exchange_weak(known, value);) {
  }
}

inline void* counted(std::size_t bytes, std::size_t alignment) noexcept {
  g_allocated_bytes += bytes;
  ++g_allocations;
  void* const memory = std::aligned_alloc(alignment, (bytes + alignment) / alignment * alignment);
  const std::size_t live = g_live_bytes += malloc_usable_size(memory);
  raise_to(g_peak_bytes, live);
  raise_to(g_largest_bytes, bytes);
  return memory;
}

inline void released(void* memory) noexcept {
  g_live_bytes -= malloc_usable_size(memory);
  std::free(memory);
}

inline void* or_throw(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace tulle::testing

// Not inlined: the compiler would warn of an operator delete that calls free().
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  return tulle::testing::or_throw(tulle::testing::counted(bytes, 16));
}
[[gnu::noinline]] void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return tulle::testing::or_throw(tulle::testing::counted(bytes, static_cast<std::size_t>(alignment)));
}
[[gnu::noinline]] void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return tulle::testing::counted(bytes, 16);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { tulle::testing::released(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
  tulle::testing::released(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept {
  tulle::testing::released(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  tulle::testing::released(memory);
}
