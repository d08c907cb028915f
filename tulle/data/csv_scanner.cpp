#include "tulle/data/csv_scanner.h"

#include <fmt/format.h>

#include <algorithm>

#include "tulle/base/error.h"

namespace tulle {

void CsvScanner::refuse(std::string_view what, std::string_view found, std::string_view expected) const {
  throw Error(ErrorKind::kBadData, {.file = name_, .line = line_},
              fmt::format("{}, found {}, expected {}", what, found, expected));
}

bool CsvScanner::start_line() {
  while (true) {
    if (blanks()) skip_blanks();
    const std::size_t end = line_end();
    if (end == 0) break;
    text_.remove_prefix(end);
    ++next_line_;
  }
  line_ = next_line_++;
  in_line_ = !text_.empty();
  return in_line_;
}

CsvField CsvScanner::field() {
  const bool has_quotes = text_.starts_with('"');
  const CsvField field{has_quotes ? quoted() : plain(), has_quotes};
  if (blanks()) skip_blanks();
  const std::size_t end = line_end();
  in_line_ = end == 0 && !text_.empty();
  if (!in_line_)
    text_.remove_prefix(end);
  else if (!blanks())
    text_.remove_prefix(1);
  return field;
}

std::string_view CsvScanner::plain() {
  std::size_t length = 0;
  for (; length < text_.size() && !is_separator(text_[length]) && text_[length] != '\n'; ++length)
    if (text_[length] == '"') refuse("field", "a quote in the middle", "quotes around all of it, or none");
  std::string_view field = text_.substr(0, length);
  text_.remove_prefix(length);
  if (field.ends_with('\r') && (text_.empty() || text_.front() == '\n')) field.remove_suffix(1);
  return field;
}

std::string_view CsvScanner::quoted() {
  text_.remove_prefix(1);
  const auto closing = [this](std::size_t from) {
    const std::size_t place = text_.find('"', from);
    if (place == std::string_view::npos)
      refuse("quoted field", "no closing quote", "one before the end of the file");
    return place;
  };
  std::size_t end = closing(0);
  std::string_view field = text_.substr(0, end);
  if (text_.substr(end + 1).starts_with('"')) {
    std::string& whole = unescaped_.emplace_back(field);
    while (text_.substr(end + 1).starts_with('"')) {
      const std::size_t next = closing(end + 2);
      whole += text_.substr(end + 1, next - end - 1);
      end = next;
    }
    field = whole;
  }
  next_line_ += std::count(field.begin(), field.end(), '\n');
  text_.remove_prefix(end + 1);
  if (!text_.empty() && line_end() == 0 && !is_separator(text_.front()))
    refuse("quoted field", fmt::format("'{}' after its closing quote", text_.front()),
           "a separator or the end of the line");
  return field;
}

// The length of the line's end if the text stands at one, else 0.
std::size_t CsvScanner::line_end() const {
  if (text_.starts_with('\n')) return 1;
  if (text_.starts_with("\r\n")) return 2;
  return text_ == "\r" ? 1 : 0;
}

void CsvScanner::skip_blanks() {
  text_.remove_prefix(std::min(text_.find_first_not_of(" \t"), text_.size()));
}

}  // namespace tulle
