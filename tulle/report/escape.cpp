#include "tulle/report/escape.h"

#include <fmt/format.h>

#include <cstdint>
#include <optional>

namespace tulle {
namespace {

struct Decoded {
  std::uint32_t code;
  std::size_t bytes;
};

// The character that starts at text[0]; nothing if it is not the shortest UTF-8 form of a Unicode scalar
// value.
std::optional<Decoded> decode(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  if (byte(0) < 0x80) return Decoded{byte(0), 1};
  if (byte(0) < 0xc2 || byte(0) > 0xf4) return std::nullopt;
  const std::size_t bytes = byte(0) < 0xe0 ? 2 : byte(0) < 0xf0 ? 3 : 4;
  if (text.size() < bytes) return std::nullopt;
  std::uint32_t code = byte(0) & (0x7fu >> bytes);
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return std::nullopt;
    code = code << 6 | (byte(i) & 0x3f);
  }
  constexpr std::uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  if (code < kSmallest[bytes] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return std::nullopt;
  return Decoded{code, bytes};
}

bool is_control(std::uint32_t code) {
  if (code == '\n' || code == '\t') return false;
  return code < 0x20 || (code >= 0x7f && code < 0xa0);
}

bool turns_the_line(std::uint32_t code) {
  return code == 0x61c || code == 0x200e || code == 0x200f || (code >= 0x202a && code <= 0x202e) ||
         (code >= 0x2066 && code <= 0x2069);
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string escaped;
  while (!text.empty()) {
    const std::optional<Decoded> character = decode(text);
    const std::size_t bytes = character ? character->bytes : 1;
    if (!character) {
      escaped += "\xef\xbf\xbd";
    } else if (is_control(character->code) || turns_the_line(character->code)) {
      escaped += fmt::format("\\u{{{:x}}}", character->code);
    } else {
      switch (character->code) {
        case '&':
          escaped += "&amp;";
          break;
        case '<':
          escaped += "&lt;";
          break;
        case '>':
          escaped += "&gt;";
          break;
        case '"':
          escaped += "&quot;";
          break;
        case '\'':
          escaped += "&#39;";
          break;
        default:
          escaped += text.substr(0, bytes);
      }
    }
    text.remove_prefix(bytes);
  }
  return escaped;
}

}  // namespace tulle
