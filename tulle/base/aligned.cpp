#include "tulle/base/aligned.h"

#include <new>

#include "tulle/base/spill.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace tulle {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

std::align_val_t alignment_of(std::size_t bytes) {
  return std::align_val_t{bytes < 2 * kHugePage ? 64 : kHugePage};
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
  return memory;
}

void free_aligned(void* memory, std::size_t bytes) noexcept {
  if (!free_spilled(memory, bytes)) ::operator delete(memory, alignment_of(bytes));
}

}  // namespace tulle
