#pragma once

#include <cstdint>

namespace tulle {

/// Largest and present resident memory of this process in bytes; 0 where the system does not tell.
std::int64_t peak_rss_bytes();
std::int64_t current_rss_bytes();

/// Memory that this process may still take: what the system says is available, or less where a control group
/// allows less; 0 where the system does not tell.
std::int64_t available_bytes();

/// The memory that a process takes from a moment on. What was free then is given back to the system first, so
/// that what is used again counts; pages of programs and libraries, which are read when they are first used,
/// do not.
class MemoryGrowth {
 public:
  /// From now on. Lets peak_rss_bytes() start again, where the system can (Linux).
  MemoryGrowth();
  /// The most until now, in bytes; 0 where the system does not tell.
  std::int64_t peak() const;

 private:
  std::int64_t all_, of_files_;
};

}  // namespace tulle
