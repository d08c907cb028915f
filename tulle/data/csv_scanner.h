#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

namespace tulle {

/// A field, without its quotes. `text` lives as long as the scanned text and its CsvScanner's `unescaped`.
struct CsvField {
  std::string_view text;
  bool quoted = false;
};

/// Cuts a text into lines of fields: RFC 4180 quotes, LF or CRLF, lines without anything skipped. Any
/// separator is one character, but blanks and tabs in any number separate if it is ' '. A copy looks ahead.
/// Throws tulle::Error (kBadData) with file and line where quotes are wrong.
class CsvScanner {
 public:
  /// `unescaped` takes fields that cannot be views of `text`, those with "" in them.
  CsvScanner(std::string_view text, const std::string& name, char separator,
             std::deque<std::string>& unescaped)
      : text_(text), name_(name), separator_(separator), unescaped_(unescaped) {}

  /// Goes to the next line; false at the end of the text.
  bool start_line();
  /// The next field of the line.
  CsvField field();
  /// Whether the line has more fields.
  bool in_line() const { return in_line_; }

  /// The error for something at the start of the present line.
  [[noreturn]] void refuse(std::string_view what, std::string_view found, std::string_view expected) const;

 private:
  bool blanks() const { return separator_ == ' '; }
  bool is_separator(char c) const { return c == separator_ || (blanks() && c == '\t'); }
  void skip_blanks();
  std::size_t line_end() const;
  std::string_view plain();
  std::string_view quoted();

  std::string_view text_;  // what is left
  const std::string& name_;
  char separator_;
  std::deque<std::string>& unescaped_;
  std::int64_t line_ = 0;
  std::int64_t next_line_ = 1;
  bool in_line_ = false;
};

}  // namespace tulle
