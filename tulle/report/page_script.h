#pragma once

#include <string_view>

namespace tulle {

/// The page's only script: figures under the pointer, series switched by their names, and a live page that
/// fetches itself again. The page says all it has to say without.
std::string_view page_script();

/// The script's hash as a Content-Security-Policy names it: "sha256-...".
std::string_view page_script_hash();

}  // namespace tulle
