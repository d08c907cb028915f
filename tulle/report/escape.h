#pragma once

#include <string>
#include <string_view>

namespace tulle {

/// `text` for the inside of an HTML element or a quoted attribute: no name can end an element, open one or
/// turn the line around it. Control characters except newline and tab, and characters that change the
/// direction of writing, become \u{N}; bytes that are no UTF-8 become U+FFFD. Cost: O(length).
std::string escape_html(std::string_view text);

}  // namespace tulle
