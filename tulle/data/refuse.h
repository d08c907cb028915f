#pragma once

#include <string>
#include <string_view>

namespace tulle {

/// Throws kBadData with this message, and names the file.
[[noreturn]] void refuse(const std::string& file, const std::string& message);

/// The same: what it is about, what was found and what was expected there.
[[noreturn]] void refuse(const std::string& file, std::string_view what, std::string_view found,
                         std::string_view expected);

}  // namespace tulle
