#include "tulle/checkpoint/json_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "tulle/base/error.h"
#include "tulle/base/utf8.h"

namespace tulle {
namespace {

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

void append_utf8(std::string& text, std::uint32_t code) {
  const auto add = [&](std::uint32_t byte) { text += static_cast<char>(byte); };
  if (code < 0x80) {
    add(code);
  } else if (code < 0x800) {
    add(0xc0 | code >> 6);
    add(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    add(0xe0 | code >> 12);
    add(0x80 | (code >> 6 & 0x3f));
    add(0x80 | (code & 0x3f));
  } else {
    add(0xf0 | code >> 18);
    add(0x80 | (code >> 12 & 0x3f));
    add(0x80 | (code >> 6 & 0x3f));
    add(0x80 | (code & 0x3f));
  }
}

}  // namespace

std::string JsonText::string() {
  if (position(); at_ == text_.size() || text_[at_] != '"') refuse_next("JSON text", "a string");
  ++at_;
  const std::size_t end = end_of_string();
  const std::string_view raw = text_.substr(at_, end - at_);
  if (const std::size_t valid = valid_utf8_length(raw); valid != raw.size())
    refuse(start_ + at_ + valid, "JSON string", "bytes that are not UTF-8", "UTF-8");
  if (raw.size() > max_string_bytes_ - string_bytes_)
    refuse(start_ + at_, "names and metadata altogether", "more",
           fmt::format("at most {} bytes", max_string_bytes_));
  string_bytes_ += raw.size();

  std::string text;
  text.reserve(raw.size());
  while (at_ < end) {
    const char c = text_[at_++];
    if (c == '\\') {
      append_escape(text);
    } else if (static_cast<unsigned char>(c) < 0x20) {
      refuse(start_ + at_ - 1, "JSON string", "a bare control character", "an escaped one");
    } else {
      text += c;
    }
  }
  at_ = end + 1;
  return text;
}

std::uint64_t JsonText::number() {
  const std::uint64_t place = position();
  const char* const begin = text_.data() + at_;
  const char* const end = text_.data() + text_.size();
  std::uint64_t value = 0;
  const auto [rest, error] = std::from_chars(begin, end, value);
  if (error == std::errc::result_out_of_range) refuse(place, "number", "a larger one", "below 2^64");
  if (error != std::errc()) refuse_next("JSON text", "a whole number");
  if (*begin == '0' && rest - begin > 1) refuse(place, "number", "a leading 0", "none");
  at_ += static_cast<std::size_t>(rest - begin);
  return value;  // a fraction or an exponent that follows is refused by the next expect()
}

void JsonText::expect_end() {
  skip_space();
  if (at_ != text_.size()) refuse_next("JSON text", "its end");
}

std::uint64_t JsonText::position() {
  skip_space();
  return start_ + at_;
}

void JsonText::refuse(std::uint64_t position, std::string_view thing, std::string_view found,
                      std::string_view expected) const {
  throw Error(ErrorKind::kBadData, Place{file_, static_cast<std::int64_t>(position)},
              fmt::format("{}, found {}, expected {}", thing, found, expected));
}

void JsonText::skip_space() { at_ = std::min(text_.find_first_not_of(" \t\n\r", at_), text_.size()); }

bool JsonText::accept(char wanted) {
  skip_space();
  if (at_ == text_.size() || text_[at_] != wanted) return false;
  ++at_;
  return true;
}

void JsonText::expect(char wanted) {
  if (!accept(wanted)) refuse_next("JSON text", fmt::format("'{}'", wanted));
}

void JsonText::refuse_next(std::string_view thing, std::string_view expected) {
  const std::uint64_t place = position();
  if (at_ == text_.size()) refuse(place, thing, "its end", expected);
  const auto byte = static_cast<unsigned char>(text_[at_]);
  refuse(place, thing,
         byte > 0x20 && byte < 0x7f ? fmt::format("'{}'", text_[at_]) : fmt::format("byte {:#04x}", byte),
         expected);
}

/// Where the quote stands that ends the string which `at_` is inside of.
std::size_t JsonText::end_of_string() const {
  std::size_t end = at_;
  while ((end = text_.find_first_of("\"\\", end)) != std::string_view::npos) {
    if (text_[end] == '"') return end;
    end += 2;
  }
  refuse(start_ + at_, "JSON string", "no end", "a closing quote");
}

void JsonText::append_escape(std::string& text) {
  const std::uint64_t place = start_ + at_ - 1;
  switch (const char c = text_[at_++]) {
    case '"':
    case '\\':
    case '/':
      text += c;
      return;
    case 'b':
      text += '\b';
      return;
    case 'f':
      text += '\f';
      return;
    case 'n':
      text += '\n';
      return;
    case 'r':
      text += '\r';
      return;
    case 't':
      text += '\t';
      return;
    case 'u':
      break;
    default:
      refuse(place, "JSON escape", "an unknown one", "\\\" \\\\ \\/ \\b \\f \\n \\r \\t or \\uXXXX");
  }
  std::uint32_t code = hex4();
  if (code >= 0xd800 && code < 0xe000) {  // a character beyond 16 bits is written as two
    const bool has_low = code < 0xdc00 && text_.substr(at_, 2) == "\\u";
    if (has_low) at_ += 2;
    const std::uint32_t low = has_low ? hex4() : 0;
    if (low < 0xdc00 || low >= 0xe000) refuse(place, "JSON escape", "half a surrogate pair", "both halves");
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
  }
  append_utf8(text, code);
}

std::uint32_t JsonText::hex4() {
  const std::string_view digits = text_.substr(at_, 4);
  std::uint32_t code = 0;
  const auto [rest, error] = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
  if (error != std::errc() || rest != digits.data() + 4)
    refuse(start_ + at_, "JSON escape", "others", "4 hex digits");
  at_ += 4;
  return code;
}

std::string json_quoted(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      result += {'\\', c};
    } else if (static_cast<unsigned char>(c) < 0x20) {
      result += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      result += c;
    }
  }
  return result + '"';
}

std::string in_quotes(std::string_view text) {
  constexpr std::size_t kLongest = 80;
  if (text.size() <= kLongest) return fmt::format("'{}'", text);
  std::size_t length = kLongest;
  while (length > 0 && is_continuation(text[length])) --length;
  return fmt::format("'{}...'", text.substr(0, length));
}

}  // namespace tulle
