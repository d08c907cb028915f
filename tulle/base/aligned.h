#pragma once

#include <cstddef>
#include <new>
#include <utility>
#include <vector>

namespace tulle {

/// Memory at a multiple of 64 bytes, so that vector loads never straddle a cache line; from 4 MiB on at a
/// multiple of 2 MiB and of huge pages where the system has them, because what reads it at random would
/// otherwise wait for page tables as well. From 16 MiB on all threads fetch its pages at once: what asks for
/// so much is to write all of it. Throws std::bad_alloc.
void* allocate_aligned(std::size_t bytes);
/// `bytes` as it was allocated.
void free_aligned(void* memory, std::size_t bytes) noexcept;

/// The same for containers.
template <class T>
struct AlignedAllocator {
  using value_type = T;

  AlignedAllocator() = default;
  template <class U>
  AlignedAllocator(const AlignedAllocator<U>&) noexcept {}

  T* allocate(std::size_t count) { return static_cast<T*>(allocate_aligned(count * sizeof(T))); }
  void deallocate(T* memory, std::size_t count) noexcept { free_aligned(memory, count * sizeof(T)); }
  bool operator==(const AlignedAllocator&) const noexcept { return true; }
};

template <class T>
using AlignedVector = std::vector<T, AlignedAllocator<T>>;

/// The same, but entries without a value are left as they are: for arrays that are written whole, by several
/// threads, and so large that one thread's zeros would cost as much.
template <class T>
struct RawAllocator : AlignedAllocator<T> {
  template <class U>
  struct rebind {
    using other = RawAllocator<U>;
  };
  RawAllocator() = default;
  template <class U>
  RawAllocator(const RawAllocator<U>&) noexcept {}

  template <class U>
  void construct(U* place) noexcept {
    ::new (static_cast<void*>(place)) U;
  }
  template <class U, class... Arguments>
  void construct(U* place, Arguments&&... arguments) {
    ::new (static_cast<void*>(place)) U(std::forward<Arguments>(arguments)...);
  }
};
template <class T>
using RawVector = std::vector<T, RawAllocator<T>>;

}  // namespace tulle
