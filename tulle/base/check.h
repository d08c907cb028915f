#pragma once

#include <stdexcept>
#include <string>

namespace tulle {

/// Refuses a caller's mistake: throws std::invalid_argument with `message` unless `holds`.
/// Mistakes in files and on the machine are tulle::Error (error.h); our own bugs are assert().
inline void require(bool holds, const char* message) {
  if (!holds) throw std::invalid_argument(message);
}
inline void require(bool holds, const std::string& message) { require(holds, message.c_str()); }

}  // namespace tulle
