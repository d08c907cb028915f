#pragma once

#include <string_view>

namespace tulle {

/// The style sheet of the report's page, for screens from 400 pixels, light and dark, and paper.
std::string_view page_style();

}  // namespace tulle
