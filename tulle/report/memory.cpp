#include "tulle/report/memory.h"

#include <fstream>
#include <string>

namespace tulle {
namespace {

// A line "VmHWM:     1234 kB" of /proc/self/status, in bytes.
std::int64_t status_bytes(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;)
    if (std::int64_t kilobytes = 0; word == name + ":" && status >> kilobytes) return kilobytes * 1024;
  return 0;
}

}  // namespace

std::int64_t peak_rss_bytes() { return status_bytes("VmHWM"); }

std::int64_t current_rss_bytes() { return status_bytes("VmRSS"); }

void reset_peak_rss() { std::ofstream("/proc/self/clear_refs") << "5"; }

}  // namespace tulle
