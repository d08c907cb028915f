#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <deque>
#include <limits>
#include <optional>
#include <vector>

#include "tulle/base/error.h"
#include "tulle/base/utf8.h"
#include "tulle/data/csv_scanner.h"
#include "tulle/data/number_text.h"
#include "tulle/data/readers.h"

namespace tulle {
namespace {

constexpr std::int64_t kNone = -1;

// Control characters other than tabs and line ends are in no text: the file is binary or in another encoding.
std::size_t find_binary(std::string_view text) {
  const auto found = std::find_if(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\r' && c != '\t';
  });
  return static_cast<std::size_t>(found - text.begin());
}

void refuse_binary(std::string_view text, const std::string& name) {
  const std::size_t place = find_binary(text);
  if (place == text.size()) return;
  const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(place), '\n');
  throw Error(
      ErrorKind::kBadData, {.file = name, .line = line},
      fmt::format("text, found the byte {:#04x}, expected none like it", static_cast<unsigned>(text[place])));
}

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t");
  return first == std::string_view::npos ? "" : text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

// A decimal number, "nan", "inf", or nothing at all, which counts as NaN; no hexadecimal, no locale.
template <class T>
std::optional<T> parse_number(std::string_view text) {
  text = trimmed(text);
  if (text.empty()) return std::numeric_limits<T>::quiet_NaN();
  if (text.size() > 1 && text.front() == '+' && text[1] != '-') text.remove_prefix(1);
  T value{};
  const char* const last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), last, value);
  if (end != last || error == std::errc::invalid_argument) return std::nullopt;
  if (error == std::errc{}) return value;
  if constexpr (std::is_same_v<T, float>) {  // a double may still know a float's zero from its infinity
    double wide = 0.0;
    if (std::from_chars(text.data(), last, wide).ec == std::errc{}) return static_cast<float>(wide);
  }
  return is_below_one(text) ? T{0} : std::numeric_limits<T>::infinity();
}

std::optional<std::int64_t> parse_index(std::string_view text) {
  std::int64_t index = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), index);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return index;
}

// The most frequent candidate of the first line outside quotes; blanks if there is none.
char guess_separator(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of("\r\n"), text.size()));
  char best = ' ';
  std::ptrdiff_t most = 0;
  for (const char candidate : {',', ';', '\t'}) {
    std::ptrdiff_t count = 0;
    bool inside = false;
    for (const char c : text.substr(0, text.find('\n'))) {
      inside = inside != (c == '"');
      count += c == candidate && !inside;
    }
    if (count > most) best = candidate;
    most = std::max(most, count);
  }
  return best;
}

char separator_of(std::string_view text, const std::string& sep) {
  if (sep == "auto") return guess_separator(text);
  if (sep == "comma" || sep == ",") return ',';
  if (sep == "semicolon" || sep == ";") return ';';
  if (sep == "tab" || sep == "\t" || sep == "\\t") return '\t';
  if (sep == "blank" || sep == " ") return ' ';
  throw Error(ErrorKind::kConfig,
              fmt::format("data.sep, found '{}', expected auto, comma, semicolon, tab or blank", sep));
}

void check_header(const std::string& header) {
  if (header != "auto" && header != "yes" && header != "no" && header != "skip")
    throw Error(ErrorKind::kConfig,
                fmt::format("data.header, found '{}', expected auto, yes, no or skip", header));
}

struct FirstLine {
  std::vector<bool> is_number;  // of each field
  std::int64_t named = kNone;   // the first field that is the text of label_column
};

// `scanner` is a copy that looks ahead.
FirstLine look_at(CsvScanner scanner, const std::string& label_column) {
  FirstLine line;
  while (scanner.in_line()) {
    const CsvField field = scanner.field();
    if (line.named == kNone && trimmed(field.text) == label_column)
      line.named = static_cast<std::int64_t>(line.is_number.size());
    line.is_number.push_back(parse_number<float>(field.text).has_value());
  }
  return line;
}

// Whether the first line names the labels that numbers below it are: a field that is no number above one that
// is.
bool names_numbers(CsvScanner scanner, std::int64_t label) {
  const auto is_number = [&] {
    for (std::int64_t c = 0; c < label && scanner.in_line(); ++c) scanner.field();
    if (!scanner.in_line()) return false;
    const std::string_view text = trimmed(scanner.field().text);
    while (scanner.in_line()) scanner.field();
    return !text.empty() && parse_number<double>(text).has_value();
  };
  return !is_number() && scanner.start_line() && is_number();
}

struct Layout {
  std::int64_t columns = 0;
  std::int64_t label = kNone;
  bool header = false;
};

// Decides by the first line. A column that is asked for by name needs a header; else, under "auto", the first
// line is one if something beside the label is no number, or the label is none and that of the next line is.
Layout lay_out(const CsvScanner& scanner, const ReadOptions& options) {
  const std::string& wanted = options.label_column;
  const FirstLine line = look_at(scanner, wanted);
  const auto columns = static_cast<std::int64_t>(line.is_number.size());
  if (columns > std::numeric_limits<std::int32_t>::max())
    scanner.refuse("columns", fmt::format("{}", columns), "fewer than 2^31");

  const bool guess = options.header == "auto";
  Layout layout{.columns = columns, .label = kNone, .header = options.header == "yes"};
  if (wanted == "none") {
    layout.label = kNone;
  } else if (wanted == "first") {
    layout.label = 0;
  } else if (wanted == "last") {
    layout.label = columns - 1;
  } else {
    const std::optional<std::int64_t> index = parse_index(wanted);
    if (!index) layout.header = layout.header || guess;
    layout.label = index ? *index : layout.header ? line.named : kNone;
    if (layout.label < 0 || layout.label >= columns)
      scanner.refuse("label column", fmt::format("'{}'", wanted),
                     fmt::format("first, last, none, 0 to {} or a name in the header", columns - 1));
  }
  for (std::int64_t c = 0; c < columns && guess; ++c)
    layout.header = layout.header || (c != layout.label && !line.is_number[static_cast<std::size_t>(c)]);
  if (guess && !layout.header && layout.label != kNone) layout.header = names_numbers(scanner, layout.label);
  return layout;
}

float feature_of(const CsvField& field, std::int64_t column, const CsvScanner& scanner,
                 bool allow_nonfinite) {
  const auto number = parse_number<float>(field.text);
  if (number && (std::isfinite(*number) || allow_nonfinite)) return *number;
  const std::string found = field.text.empty() ? "nothing" : fmt::format("'{}'", field.text.substr(0, 40));
  scanner.refuse(fmt::format("column {}", column + 1), found,
                 number
                     ? "a finite number of 32-bit floating point; data.nan = \"zero\" or \"drop\" allows it"
                     : "a decimal number");
}

class Labels {
 public:
  void add(const CsvField& field, std::int64_t column, const CsvScanner& scanner) {
    const std::string_view text = field.quoted ? field.text : trimmed(field.text);
    if (text.empty()) scanner.refuse(fmt::format("column {}", column + 1), "nothing", "a label");
    if (valid_utf8_length(text) != text.size())
      scanner.refuse(fmt::format("column {}", column + 1), "a label in another encoding", "text in UTF-8");
    // Quotes say that a name is meant: "01005" keeps its zero.
    numeric_ = numeric_ && !field.quoted && parse_number<double>(text).has_value();
    texts_.push_back(text);
  }
  RawLabels labels() const {
    RawLabels labels;
    if (!numeric_) {
      labels.names.assign(texts_.begin(), texts_.end());
      return labels;
    }
    bool as_usual = true;
    for (const std::string_view text : texts_) {
      labels.numbers.push_back(*parse_number<double>(text));
      as_usual = as_usual && text == fmt::format("{}", labels.numbers.back());
    }
    if (!as_usual) labels.texts.assign(texts_.begin(), texts_.end());
    return labels;
  }

 private:
  std::vector<std::string_view> texts_;
  bool numeric_ = true;
};

// No more than the text can hold, whatever its first line promises: a value takes two bytes with its
// separator.
std::size_t expected_values(std::string_view text, std::int64_t features, std::int64_t max_rows) {
  if (features == 0) return 0;
  auto lines = static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) + 1;
  if (max_rows > 0) lines = std::min(lines, static_cast<std::size_t>(max_rows));
  const auto width = static_cast<std::size_t>(features);
  return std::min(lines, text.size() / (2 * width) + 1) * width;
}

}  // namespace

bool is_text(std::span<const std::byte> bytes) {
  const std::string_view start(reinterpret_cast<const char*>(bytes.data()),
                               std::min<std::size_t>(bytes.size(), 4096));
  return !start.empty() && find_binary(start) == start.size();
}

RawSplit read_csv(std::span<const std::byte> bytes, const std::string& name, const ReadOptions& options) {
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  refuse_binary(text, name);
  if (text.starts_with("@relation") || text.starts_with("@RELATION"))
    throw Error(
        ErrorKind::kBadData, {.file = name, .line = 1},
        "text, found ARFF, expected separated values; convert it to LIBSVM or extreme classification text");
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  check_header(options.header);
  const bool skip = options.header == "skip";
  const std::size_t start = skip ? std::min(text.find('\n'), text.size()) : 0;
  std::deque<std::string> unescaped;
  CsvScanner scanner(text.substr(start), name, separator_of(text.substr(start), options.sep), unescaped);
  RawSplit split;
  if (!scanner.start_line()) scanner.refuse("text", "its end", "samples");
  const Layout layout = lay_out(scanner, options);
  if (layout.header) {
    while (scanner.in_line()) scanner.field();
    if (!scanner.start_line()) scanner.refuse("text", "a header alone", "samples below it");
  }

  Labels labels;
  Features& inputs = split.inputs;
  inputs.features = static_cast<std::int32_t>(layout.columns - (layout.label == kNone ? 0 : 1));
  inputs.floats.reserve(expected_values(text, inputs.features, options.max_rows));
  do {
    std::int64_t column = 0;
    for (; scanner.in_line(); ++column) {
      const CsvField field = scanner.field();
      if (column >= layout.columns) continue;
      if (column == layout.label)
        labels.add(field, column, scanner);
      else
        inputs.floats.push_back(feature_of(field, column, scanner, options.allow_nonfinite));
    }
    if (column != layout.columns)
      scanner.refuse("fields", fmt::format("{}", column),
                     fmt::format("{} as in the first line{}", layout.columns,
                                 inputs.samples <= 1 && !skip
                                     ? "; if that is neither header nor sample, set data.header = \"skip\""
                                     : ""));
    ++inputs.samples;
  } while (inputs.samples != options.max_rows && scanner.start_line());
  split.labels = labels.labels();
  return split;
}

}  // namespace tulle
