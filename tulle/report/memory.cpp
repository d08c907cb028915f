#include "tulle/report/memory.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include <algorithm>
#include <fstream>
#include <string>

namespace tulle {
namespace {

// A line "VmHWM:     1234 kB" of such a file, in bytes.
std::int64_t bytes_in(const std::string& file, const std::string& name) {
  std::ifstream status(file);
  for (std::string word; status >> word;)
    if (std::int64_t kilobytes = 0; word == name + ":" && status >> kilobytes) return kilobytes * 1024;
  return 0;
}

// Pages of programs, libraries and mapped files.
std::int64_t file_rss_bytes() { return bytes_in("/proc/self/status", "RssFile"); }

// The number in a file; -1 where there is none ("max").
std::int64_t number_in(const std::string& file) {
  std::int64_t number = -1;
  std::ifstream(file) >> number;
  return number;
}

// What the control groups of this process leave, from its own up to the root; -1: they do not say. Within a
// container the path of the outer system may not exist: then the root is the container's own.
std::int64_t left_in_groups() {
  std::int64_t left = -1;
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    if (!line.starts_with("0::/")) continue;  // version 2
    for (std::string path = line.substr(3);; path.resize(path.rfind('/'))) {
      const std::string folder = "/sys/fs/cgroup" + path;
      const std::int64_t most = number_in(folder + "/memory.max"),
                         used = number_in(folder + "/memory.current");
      if (most >= 0 && used >= 0 && (left < 0 || most - used < left))
        left = std::max<std::int64_t>(most - used, 0);
      if (path.empty()) break;
    }
  }
  return left;
}

}  // namespace

std::int64_t peak_rss_bytes() { return bytes_in("/proc/self/status", "VmHWM"); }

std::int64_t current_rss_bytes() { return bytes_in("/proc/self/status", "VmRSS"); }

std::int64_t available_bytes() {
  const std::int64_t system = bytes_in("/proc/meminfo", "MemAvailable"), groups = left_in_groups();
  return groups < 0 ? system : std::min(system, groups);
}

MemoryGrowth::MemoryGrowth() {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
  std::ofstream("/proc/self/clear_refs") << "5";
  all_ = current_rss_bytes();
  of_files_ = file_rss_bytes();
}

std::int64_t MemoryGrowth::peak() const {
  const std::int64_t of_files = std::max<std::int64_t>(file_rss_bytes() - of_files_, 0);
  return std::max<std::int64_t>(peak_rss_bytes() - all_ - of_files, 0);
}

}  // namespace tulle
