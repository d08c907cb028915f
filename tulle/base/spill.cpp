#include "tulle/base/spill.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

namespace tulle {
namespace {

constexpr std::size_t kSpilledFrom = std::size_t{64} << 10;

struct Mapping {
  std::size_t bytes;
  FileHandle file;
};

struct Mappings {
  std::mutex mutex;
  std::map<const std::byte*, Mapping> by_address;
  std::atomic<std::size_t> count{0};  // read without the lock: most processes have none
};

Mappings& mappings() {
  static Mappings all;
  return all;
}

thread_local Spilling* g_spilling = nullptr;

// Whole pages of a file and where they are mapped.
struct Pages {
  std::byte* memory;
  std::size_t bytes;
  int file;
  off_t offset;
};

// `all_pages`: with those that the part shares with what follows.
std::optional<Pages> pages_of(std::span<const std::byte> part, bool all_pages = false) {
  Mappings& all = mappings();
  if (all.count.load(std::memory_order_acquire) == 0 || part.empty()) return std::nullopt;
  const std::lock_guard lock(all.mutex);
  auto found = all.by_address.upper_bound(part.data());
  if (found == all.by_address.begin()) return std::nullopt;
  --found;
  const auto& [start, mapping] = *found;
  const auto begin = static_cast<std::size_t>(part.data() - start);
  if (begin >= mapping.bytes) return std::nullopt;
  const std::size_t end = std::min(begin + part.size(), mapping.bytes);
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t first = begin / page * page;
  const std::size_t last = all_pages || end == mapping.bytes ? end : end / page * page;
  if (first >= last) return std::nullopt;
  return Pages{const_cast<std::byte*>(start) + first, last - first, mapping.file.get(),
               static_cast<off_t>(first)};
}

#ifdef __linux__
void write_back(const Pages& pages) {
  (void)::sync_file_range(pages.file, pages.offset, static_cast<off_t>(pages.bytes), SYNC_FILE_RANGE_WRITE);
}

void release(const Pages& pages) {
  // First out of the page tables, so that the file knows which pages were written to.
  (void)::madvise(pages.memory, pages.bytes, MADV_DONTNEED);
  constexpr unsigned kWritten =
      SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
  const auto size = static_cast<off_t>(pages.bytes);
  if (uninterrupted([&] { return ::sync_file_range(pages.file, pages.offset, size, kWritten); }) == -1 &&
      (errno == EIO || errno == ENOSPC || errno == EDQUOT))
    throw system_error(errno, "a file of run.spill or data.scratch", "write");
  (void)::posix_fadvise(pages.file, pages.offset, size, POSIX_FADV_DONTNEED);
}
#else
void write_back(const Pages&) {}  // left to the system
void release(const Pages&) {}
#endif

}  // namespace

Spilling::Spilling(const std::string& folder, FileOps& files)
    : folder_(folder), files_(files), directory_(files, -1), before_(std::exchange(g_spilling, this)) {
  if (folder_.empty()) return;
  const auto open = [&] { return open_file(files_, AT_FDCWD, folder_, O_RDONLY | O_DIRECTORY); };
  directory_ = open();
  // EEXIST: another rank has just made it.
  if (!directory_ && errno == ENOENT && (files_.mkdir(folder_.c_str()) == 0 || errno == EEXIST))
    directory_ = open();
  if (directory_) return;
  g_spilling = before_;
  throw write_error(errno, folder_, "open the folder");
}

Spilling::~Spilling() { g_spilling = before_; }

bool spilling() { return g_spilling != nullptr && g_spilling->directory_; }

void* allocate_spilled(std::size_t bytes) {
  const Spilling* const to = g_spilling;
  if (!spilling() || bytes < kSpilledFrom) return nullptr;
  FileHandle file = open_file(to->files_, to->directory_.get(), ".", O_RDWR | O_TMPFILE, 0600);
  if (!file) throw write_error(errno, to->folder_, "make a file without a name in");
  const auto size = static_cast<off_t>(bytes);
  if (uninterrupted([&] { return to->files_.fallocate(file.get(), size); }) == -1)
    throw write_error(errno, to->folder_, fmt::format("reserve {} bytes in", bytes));
  void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (memory == MAP_FAILED) throw write_error(errno, to->folder_, "map a file of");
  Mappings& all = mappings();
  const std::lock_guard lock(all.mutex);
  all.by_address.emplace(static_cast<const std::byte*>(memory), Mapping{bytes, std::move(file)});
  all.count = all.by_address.size();
  return memory;
}

bool free_spilled(void* memory, std::size_t bytes) noexcept {
  Mappings& all = mappings();
  if (bytes < kSpilledFrom || all.count.load(std::memory_order_acquire) == 0) return false;
  const std::lock_guard lock(all.mutex);
  const auto found = all.by_address.find(static_cast<const std::byte*>(memory));
  if (found == all.by_address.end()) return false;
  ::munmap(memory, bytes);
  all.by_address.erase(found);
  all.count = all.by_address.size();
  return true;
}

void ask_for(std::span<const std::byte> part) {
  if (const auto pages = pages_of(part, /*all_pages=*/true))
    (void)::madvise(pages->memory, pages->bytes, MADV_WILLNEED);
}

void write_back(std::span<const std::byte> part) {
  if (const auto pages = pages_of(part)) write_back(*pages);
}

void release(std::span<const std::byte> part) {
  if (const auto pages = pages_of(part)) release(*pages);
}

void unmap(std::span<const std::byte> part) {
  if (const auto pages = pages_of(part)) (void)::madvise(pages->memory, pages->bytes, MADV_DONTNEED);
}

void release_spilled() {
  Mappings& all = mappings();
  if (all.count.load(std::memory_order_acquire) == 0) return;
  const std::lock_guard lock(all.mutex);
  for (const auto& [start, mapping] : all.by_address)
    release(Pages{const_cast<std::byte*>(start), mapping.bytes, mapping.file.get(), 0});
}

bool is_spilled(const void* memory) {
  return pages_of({static_cast<const std::byte*>(memory), kSpilledFrom}).has_value();
}

}  // namespace tulle
