#pragma once

#include <cstddef>
#include <string>

namespace tulle::testing {

/// How often a page says something.
inline std::size_t count_of(const std::string& what, const std::string& text) {
  std::size_t count = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

}  // namespace tulle::testing
