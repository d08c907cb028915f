#include "tulle/data/refuse.h"

#include <fmt/format.h>

#include "tulle/base/error.h"

namespace tulle {

void refuse(const std::string& file, const std::string& message) {
  throw Error(ErrorKind::kBadData, {.file = file}, message);
}

void refuse(const std::string& file, std::string_view what, std::string_view found,
            std::string_view expected) {
  refuse(file, fmt::format("{}, found {}, expected {}", what, found, expected));
}

}  // namespace tulle
