#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tulle/data/dataset.h"
#include "tulle/data/readers.h"

namespace tulle {

/// Lines of "index:value" fields, which LIBSVM and the extreme-classification text have in common. Fields are
/// separated by blanks or tabs; a comment goes from # to the end of the line; lines end with LF or CRLF, the
/// last one with nothing too. What is not so is refused (kBadData) with file and line.
class SparseText {
 public:
  SparseText(std::string_view text, const std::string& name)
      : at_(text.data()), end_(at_ + text.size()), name_(name) {}

  /// Goes to the next line, comment lines and, if asked to, lines without anything aside; false at the end.
  bool start_line(bool skip_empty);
  /// Whether the line starts with a blank.
  bool starts_blank() const { return at_ != line_end_ && is_blank(*at_); }
  /// The next field up to a blank; empty at the end of the line.
  std::string_view field();
  /// Whether nothing is left of the line.
  bool ends() const { return at_ == line_end_; }
  /// The remaining fields as one row: indices from `base` on, sorted; equal ones are refused, or added up.
  void read_row(std::int32_t base, bool add_equal, bool allow_nonfinite, SparseRows& rows);
  /// The largest index seen so far, as the file counts; -1 if there was none. The smallest likewise.
  std::int64_t largest() const { return largest_; }
  std::int64_t smallest() const { return smallest_; }
  std::int64_t line() const { return line_; }

  /// Refuses so many features or labels that arrays of them would take memory which the `stored` ones do not
  /// account for.
  void check_count(std::string_view what, std::int64_t count, std::size_t stored,
                   std::string_view hint) const;

  [[noreturn]] void refuse(std::string_view what, std::string_view found, std::string_view expected) const;

 private:
  static bool is_blank(char c) { return c == ' ' || c == '\t'; }
  void skip_blanks() {
    while (at_ != line_end_ && is_blank(*at_)) ++at_;
  }
  std::string_view rest_of_field() const;
  void sort_row(std::size_t first, bool add_equal, bool allow_nonfinite, SparseRows& rows);

  const char* at_;
  const char* end_;
  const char* line_end_ = nullptr;
  const char* next_line_ = nullptr;
  const std::string& name_;
  std::int64_t line_ = 0;
  std::int64_t largest_ = -1, smallest_ = -1;
};

/// Ends the set of labels that began at place `first` of sets.labels: sorted, each once.
void finish_set(LabelSets& sets, std::size_t first);

/// The text of a file, a byte order mark aside. Refuses what is no text.
std::string_view text_of(std::span<const std::byte> bytes, const std::string& name);

}  // namespace tulle
