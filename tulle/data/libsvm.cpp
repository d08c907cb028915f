#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <vector>

#include "tulle/base/error.h"
#include "tulle/data/sparse_text.h"

namespace tulle {

ReadBytes read_libsvm;
FitsBytes is_libsvm;

namespace {

// "label[,label] [qid:n] index:value ...", one sample a line.

bool is_qid(std::string_view field) { return field.starts_with("qid:"); }

// The label of a line; with a comma there are sets of labels, whole numbers from 0 on.
double number_of(const SparseText& text, std::string_view field) {
  std::string_view digits = field;
  if (digits.starts_with('+')) digits.remove_prefix(1);
  double value = 0.0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc{} || end != digits.data() + digits.size() || digits.empty())
    text.refuse("label", fmt::format("'{}'", field.substr(0, 40)), "a number");
  return value;
}

void add_set(const SparseText& text, std::string_view field, LabelSets& sets) {
  const std::size_t first = sets.labels.size();
  while (!field.empty()) {
    const std::size_t comma = std::min(field.find(','), field.size());
    const double label = number_of(text, field.substr(0, comma));
    if (!(label >= 0.0 && label < 2147483647.0) || label != static_cast<std::int32_t>(label))
      text.refuse("label", fmt::format("{}", label), "a whole number from 0 on, as one of several");
    sets.labels.push_back(static_cast<std::int32_t>(label));
    field.remove_prefix(std::min(comma + 1, field.size()));
  }
  for (std::size_t k = first; k < sets.labels.size(); ++k)
    sets.count = std::max(sets.count, sets.labels[k] + 1);
  finish_set(sets, first);
}

// Whether any line's labels hold a comma: then every sample has a set of labels.
bool has_sets(SparseText text) {
  while (text.start_line(/*skip_empty=*/true))
    if (!text.starts_blank() && text.field().find(',') != std::string_view::npos) return true;
  return false;
}

void skip_qid(SparseText& text) {
  if (is_qid(SparseText(text).field())) text.field();
}

}  // namespace

bool is_libsvm(std::span<const std::byte> bytes) {
  // A first line of a label and "index:value" fields; a line of several samples' worth is enough.
  std::string_view start(reinterpret_cast<const char*>(bytes.data()),
                         std::min<std::size_t>(bytes.size(), 4096));
  if (start.find('\0') != std::string_view::npos) return false;
  while (start.starts_with('#') || start.starts_with('\n') || start.starts_with("\r\n"))
    start.remove_prefix(std::min(start.find('\n'), start.size() - 1) + 1);
  const std::size_t line = start.find('\n');
  start = start.substr(0, line);
  // A set of labels.
  if (const std::size_t end = start.find_first_not_of("0123456789,");
      end != std::string_view::npos && end > 0 && (start[end] == ' ' || start[end] == '\t'))
    start.remove_prefix(end);
  const std::size_t colon = start.find(':');
  if (colon == std::string_view::npos || colon == 0 || start.find_first_of(",;\"") < colon) return false;
  const std::size_t blank = start.find_last_of(" \t", colon);
  if (blank == std::string_view::npos) return false;
  const std::string_view key = start.substr(blank + 1, colon - blank - 1);
  return key == "qid" ||
         (!key.empty() && std::ranges::all_of(key, [](char c) { return c >= '0' && c <= '9'; }));
}

RawSplit read_libsvm(std::span<const std::byte> bytes, const std::string& name, const ReadOptions& options) {
  const std::string_view content = text_of(bytes, name);
  RawSplit split;
  SparseRows& rows = split.inputs.sparse;
  rows.row_ptr.push_back(0);
  SparseText text(content, name);
  const bool sets = options.label_sets || (content.find(',') != std::string_view::npos && has_sets(text));
  if (sets) split.labels.sets.row_ptr.push_back(0);
  const std::int32_t least = std::max(options.index_base, 0);
  while (split.inputs.samples != options.max_rows || options.max_rows == 0) {
    if (!text.start_line(/*skip_empty=*/!sets)) break;
    if (text.ends()) continue;  // a sample without labels starts with a blank
    const bool none = text.starts_blank();
    if (sets)
      add_set(text, none ? std::string_view{} : text.field(), split.labels.sets);
    else
      split.labels.numbers.push_back(number_of(text, text.field()));
    skip_qid(text);
    text.read_row(least, options.duplicates == "sum", options.allow_nonfinite, rows);
    ++split.inputs.samples;
  }
  if (split.inputs.samples == 0) text.refuse("text", "its end", "samples");
  split.index_base = options.index_base >= 0 ? options.index_base : text.smallest() == 0 ? 0 : 1;
  if (split.index_base == 1)
    for (std::int32_t& column : rows.columns) --column;
  const std::int64_t found = text.largest() + 1 - split.index_base;
  const std::int32_t most =
      options.features > 0 ? options.features : std::numeric_limits<std::int32_t>::max();
  if (found > most)
    throw Error(ErrorKind::kBadData, {.file = name},
                fmt::format("index, found {}, expected at most {} of {} features", text.largest(),
                            std::int64_t{most} - 1 + split.index_base, most));
  if (options.features <= 0)
    text.check_count("features", found, rows.columns.size(), "; data.features tells how many there are");
  text.check_count("labels", split.labels.sets.count, split.labels.sets.labels.size(), "");
  split.inputs.features =
      options.features > 0 ? options.features : static_cast<std::int32_t>(std::max<std::int64_t>(found, 0));
  return split;
}

}  // namespace tulle
