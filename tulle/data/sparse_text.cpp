#include "tulle/data/sparse_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "tulle/base/error.h"
#include "tulle/data/number_text.h"

namespace tulle {

std::string_view text_of(std::span<const std::byte> bytes, const std::string& name) {
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  if (const void* const zero = text.empty() ? nullptr : std::memchr(text.data(), 0, text.size()))
    throw Error(ErrorKind::kBadData,
                {.file = name,
                 .offset = static_cast<const char*>(zero) - reinterpret_cast<const char*>(bytes.data())},
                "text, found a zero byte, expected none");
  return text;
}

void finish_set(LabelSets& sets, std::size_t first) {
  const auto begin = sets.labels.begin() + static_cast<std::ptrdiff_t>(first);
  std::sort(begin, sets.labels.end());
  sets.labels.erase(std::unique(begin, sets.labels.end()), sets.labels.end());
  sets.row_ptr.push_back(static_cast<std::int64_t>(sets.labels.size()));
}

bool SparseText::start_line(bool skip_empty) {
  do {
    if (line_ > 0) at_ = next_line_;
    if (at_ == end_) return false;
    ++line_;
    const void* const newline = std::memchr(at_, '\n', static_cast<std::size_t>(end_ - at_));
    line_end_ = newline == nullptr ? end_ : static_cast<const char*>(newline);
    next_line_ = newline == nullptr ? end_ : line_end_ + 1;
    if (line_end_ != at_ && line_end_[-1] == '\r') --line_end_;
    if (const void* const hash =
            line_end_ == at_ ? nullptr : std::memchr(at_, '#', static_cast<std::size_t>(line_end_ - at_))) {
      line_end_ = static_cast<const char*>(hash);
      if (line_end_ == at_) continue;  // nothing but a comment
    }
    if (!skip_empty || std::any_of(at_, line_end_, [](char c) { return !is_blank(c); })) return true;
  } while (true);
}

std::string_view SparseText::rest_of_field() const {
  const char* last = at_;
  while (last != line_end_ && !is_blank(*last)) ++last;
  return {at_, static_cast<std::size_t>(last - at_)};
}

std::string_view SparseText::field() {
  skip_blanks();
  const std::string_view text = rest_of_field();
  at_ += text.size();
  return text;
}

void SparseText::read_row(std::int32_t base, bool add_equal, bool allow_nonfinite, SparseRows& rows) {
  const std::size_t first = rows.columns.size();
  bool sorted = true;
  for (skip_blanks(); at_ != line_end_; skip_blanks()) {
    std::int64_t index = 0;
    const char* const colon = scan_index(at_, line_end_, index);
    float value = 0.0f;
    const char* const last = colon == nullptr || colon == line_end_ || *colon != ':'
                                 ? nullptr
                                 : scan_float(colon + 1, line_end_, value);
    if (last == nullptr || (last != line_end_ && !is_blank(*last)))
      refuse("field", fmt::format("'{}'", rest_of_field().substr(0, 40)),
             "index:value, the index a whole number below 2^31");
    if (!std::isfinite(value) && !allow_nonfinite)
      refuse("value", fmt::format("'{}'", rest_of_field().substr(0, 40)),
             "a finite number of 32-bit floating point; data.nan = \"zero\" or \"drop\" allows it");
    if (index < base)
      refuse("index", fmt::format("{}", index), fmt::format("{} or more (data.index_base)", base));
    largest_ = std::max(largest_, index);
    smallest_ = smallest_ < 0 ? index : std::min(smallest_, index);
    const auto column = static_cast<std::int32_t>(index);
    sorted = sorted && (rows.columns.size() == first || rows.columns.back() < column);
    rows.columns.push_back(column);
    rows.values.push_back(value);
    at_ = last;
  }
  if (!sorted) sort_row(first, add_equal, allow_nonfinite, rows);
  rows.row_ptr.push_back(static_cast<std::int64_t>(rows.columns.size()));
}

void SparseText::sort_row(std::size_t first, bool add_equal, bool allow_nonfinite, SparseRows& rows) {
  std::vector<std::pair<std::int32_t, float>> row;
  for (std::size_t k = first; k < rows.columns.size(); ++k) row.emplace_back(rows.columns[k], rows.values[k]);
  std::ranges::stable_sort(row, {}, &std::pair<std::int32_t, float>::first);
  rows.columns.resize(first);
  rows.values.resize(first);
  for (const auto& [column, value] : row) {
    if (rows.columns.size() == first || rows.columns.back() != column) {
      rows.columns.push_back(column);
      rows.values.push_back(value);
    } else if (add_equal) {
      rows.values.back() += value;
      if (!std::isfinite(rows.values.back()) && !allow_nonfinite)
        refuse("values", fmt::format("a sum of {} at index {}", rows.values.back(), column),
               "a finite number of 32-bit floating point");
    } else {
      refuse("index", fmt::format("{} twice", column),
             "each once in a row; data.duplicates = \"sum\" adds them");
    }
  }
}

void SparseText::check_count(std::string_view what, std::int64_t count, std::size_t stored,
                             std::string_view hint) const {
  const std::int64_t most = (std::int64_t{1} << 22) + 1024 * static_cast<std::int64_t>(stored);
  if (count > most)
    refuse(what, fmt::format("{}", count),
           fmt::format("at most {} where {} are stored{}", most, stored, hint));
}

void SparseText::refuse(std::string_view what, std::string_view found, std::string_view expected) const {
  throw Error(ErrorKind::kBadData, {.file = name_, .line = line_},
              fmt::format("{}, found {}, expected {}", what, found, expected));
}

}  // namespace tulle
