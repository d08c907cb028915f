#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace tulle {

/// Reads strict JSON piece by piece, the caller saying what must come next; anything else is refused with its
/// place. For untrusted text: no recursion, and no memory but the strings handed out.
class JsonText {
 public:
  /// `text` starts at byte `start` of `file`; strings may hold `max_string_bytes` altogether.
  JsonText(std::string_view text, std::uint64_t start, std::size_t max_string_bytes, const std::string& file)
      : text_(text), start_(start), max_string_bytes_(max_string_bytes), file_(file) {}

  /// member(key, position) for every member of an object; it must read the value.
  template <class Member>
  void object(Member member) {
    expect('{');
    if (accept('}')) return;
    do {
      const std::uint64_t place = position();
      std::string key = string();
      expect(':');
      member(std::move(key), place);
    } while (accept(','));
    expect('}');
  }

  /// element(position) for every element of an array; it must read the element.
  template <class Element>
  void array(Element element) {
    expect('[');
    if (accept(']')) return;
    do element(position());
    while (accept(','));
    expect(']');
  }

  std::string string();
  /// A whole number from 0 to 2^64 - 1.
  std::uint64_t number();
  void expect_end();

  /// Where in the file the next token starts.
  std::uint64_t position();
  [[noreturn]] void refuse(std::uint64_t position, std::string_view thing, std::string_view found,
                           std::string_view expected) const;

 private:
  void skip_space();
  bool accept(char wanted);
  void expect(char wanted);
  [[noreturn]] void refuse_next(std::string_view thing, std::string_view expected);
  std::size_t end_of_string() const;
  void append_escape(std::string& text);
  std::uint32_t hex4();

  std::string_view text_;
  std::size_t at_ = 0;
  std::uint64_t start_;
  std::size_t max_string_bytes_;
  std::size_t string_bytes_ = 0;
  const std::string& file_;
};

/// `text` as a JSON string, quotes included; it must be UTF-8.
std::string json_quoted(std::string_view text);

/// `text` in quotes for a message, cut if it is long.
std::string in_quotes(std::string_view text);

}  // namespace tulle
