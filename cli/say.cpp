#include "say.h"

#include <cstdio>

namespace tulle::cli {

void say(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); }

}  // namespace tulle::cli
