#include "tulle/base/aligned.h"

#include <cstddef>
#include <new>

#include "tulle/base/parallel.h"
#include "tulle/base/spill.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace tulle {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kTouched = 8 * kHugePage;  // from so many bytes on

std::align_val_t alignment_of(std::size_t bytes) {
  return std::align_val_t{bytes < 2 * kHugePage ? 64 : kHugePage};
}

// A page is there once it was written to. Of large arrays the system gives them to all threads at once: to
// one alone they take longer than what is done with them.
void touch(std::byte* memory, std::size_t bytes) {
  constexpr std::size_t kPage = std::size_t{4} << 10;
  parallel_ranges(static_cast<std::int64_t>(bytes / kPage), kHugePage / kPage, [&](Range pages) {
    for (std::int64_t page = pages.begin; page < pages.end; ++page)
      *static_cast<volatile std::byte*>(memory + static_cast<std::size_t>(page) * kPage) = std::byte{0};
  });
}

}  // namespace

void* allocate_aligned(std::size_t bytes) {
  if (void* const file = allocate_spilled(bytes)) return file;
  const std::align_val_t alignment = alignment_of(bytes);
  void* const memory = ::operator new(bytes, alignment);
#ifdef MADV_HUGEPAGE
  // Many systems give huge pages only where they are asked for. Refusal costs time alone.
  if (alignment == std::align_val_t{kHugePage})
    (void)madvise(memory, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  if (bytes >= kTouched) touch(static_cast<std::byte*>(memory), bytes);
  return memory;
}

void free_aligned(void* memory, std::size_t bytes) noexcept {
  if (!free_spilled(memory, bytes)) ::operator delete(memory, alignment_of(bytes));
}

}  // namespace tulle
