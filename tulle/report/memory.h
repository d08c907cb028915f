#pragma once

#include <cstdint>

namespace tulle {

/// Largest and present resident memory of this process in bytes; 0 where the system does not tell.
std::int64_t peak_rss_bytes();
std::int64_t current_rss_bytes();

/// Memory that this process may still take: what the system says is available, or less where a control group
/// allows less; 0 where the system does not tell.
std::int64_t available_bytes();

/// Lets peak_rss_bytes() start again from the present size, where the system can (Linux).
void reset_peak_rss();

}  // namespace tulle
