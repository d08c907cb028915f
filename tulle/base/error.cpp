#include "tulle/base/error.h"

#include <fmt/format.h>

#include <cerrno>
#include <system_error>

namespace tulle {
namespace {

std::string place_text(const Place& place) {
  if (place.file.empty()) return "";
  if (place.line >= 0) return fmt::format("{}:{}: ", place.file, place.line);
  if (place.offset >= 0) return fmt::format("{}@{}: ", place.file, place.offset);
  return place.file + ": ";
}

ErrorKind kind_of(int error_number) {
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
      return ErrorKind::kMissingInput;
    case EACCES:
    case EPERM:
    case EROFS:
      return ErrorKind::kPermission;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return ErrorKind::kCannotWrite;
    case ENOMEM:
      return ErrorKind::kMemory;
    default:
      return ErrorKind::kIo;
  }
}

}  // namespace

Error::Error(ErrorKind kind, const Place& place, std::string_view what)
    : std::runtime_error(escape_control(place_text(place)) + escape_control(what)),
      kind_(kind),
      place_(place) {}

Error system_error(int error_number, const std::string& path, std::string_view operation) {
  const std::string reason = std::generic_category().message(error_number);
  return Error(kind_of(error_number), Place{.file = path}, fmt::format("cannot {}: {}", operation, reason));
}

std::string escape_control(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      escaped += "\\n";
    } else if (byte < 0x20 || byte == 0x7f) {
      escaped += fmt::format("\\x{:02x}", byte);
    } else {
      escaped += c;
    }
  }
  return escaped;
}

}  // namespace tulle
