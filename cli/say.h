#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <utility>

namespace tulle::cli {

/// Progress, warnings and errors: to standard error, in one write. Unlike fmt::print it never throws: a
/// training goes on when nobody reads what it says.
template <class... Args>
void say(fmt::format_string<Args...> format, Args&&... args) {
  const std::string text = fmt::format(format, std::forward<Args>(args)...);
  std::fwrite(text.data(), 1, text.size(), stderr);
}

}  // namespace tulle::cli
