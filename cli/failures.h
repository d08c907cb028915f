#pragma once

#include <string_view>

namespace tulle::cli {

/// "tulle: MESSAGE" to standard error.
void complain(std::string_view message);

/// Tells of the exception that is being handled in one line, and returns the exit code of its kind.
int report_exception();

}  // namespace tulle::cli
