#pragma once

#include <cstdint>

namespace tulle {

/// Largest and present resident memory of this process in bytes; 0 where the system does not tell.
std::int64_t peak_rss_bytes();
std::int64_t current_rss_bytes();

/// Memory that this process may still take: what the system says is available, or less where a control group
/// allows less; 0 where the system does not tell.
std::int64_t available_bytes();

/// Gives free memory back to the system, lets peak_rss_bytes() start again from what is left, where the
/// system can (Linux), and returns that: what was used before and is used again counts as growth.
std::int64_t restart_peak_rss();

}  // namespace tulle
