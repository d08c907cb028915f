#pragma once

#include <string_view>

namespace tulle::cli {

/// Progress, warnings and errors: to standard error, in one write. Unlike fmt::print it never throws: a
/// training goes on when nobody reads what it says.
void say(std::string_view text);

}  // namespace tulle::cli
