#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "tulle/base/error.h"
#include "tulle/data/number_text.h"
#include "tulle/data/sparse_text.h"

namespace tulle {

ReadBytes read_xmc;
FitsBytes is_xmc;

namespace {

// The text of the extreme classification repository: a line "samples features labels", then for each sample
// "label,label index:value ..." with everything counted from 0. A line that starts with a blank has no
// labels.

std::int64_t whole(const SparseText& text, std::string_view field, std::string_view what) {
  std::int64_t number = 0;
  if (scan_index(field.data(), field.data() + field.size(), number) != field.data() + field.size())
    text.refuse(what, fmt::format("'{}'", field.substr(0, 40)), "a whole number below 2^31");
  return number;
}

void add_labels(const SparseText& text, std::string_view field, LabelSets& sets) {
  const std::size_t first = sets.labels.size();
  while (!field.empty()) {
    const std::size_t comma = std::min(field.find(','), field.size());
    const std::int64_t label = whole(text, field.substr(0, comma), "label");
    if (label >= sets.count)
      text.refuse("label", fmt::format("{}", label),
                  fmt::format("below {}, the labels of the first line", sets.count));
    sets.labels.push_back(static_cast<std::int32_t>(label));
    field.remove_prefix(std::min(comma + 1, field.size()));
  }
  finish_set(sets, first);
}

bool is_number(std::string_view field) {
  return !field.empty() && std::ranges::all_of(field, [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

bool is_xmc(std::span<const std::byte> bytes) {
  const std::string_view start(reinterpret_cast<const char*>(bytes.data()),
                               std::min<std::size_t>(bytes.size(), 4096));
  if (start.find('\0') != std::string_view::npos) return false;
  const std::string name;
  SparseText text(start, name);
  if (!text.start_line(false)) return false;
  for (int i = 0; i < 3; ++i)
    if (!is_number(text.field())) return false;
  if (!text.field().empty()) return false;
  // A second line of fields tells it from a table of three numbers.
  if (!text.start_line(false)) return false;
  for (int i = 0; i < 3; ++i)
    if (text.field().find(':') != std::string_view::npos) return true;
  return false;
}

RawSplit read_xmc(std::span<const std::byte> bytes, const std::string& name, const ReadOptions& options) {
  SparseText text(text_of(bytes, name), name);
  if (!text.start_line(false)) text.refuse("first line", "the end", "samples, features and labels");
  std::array<std::int64_t, 3> head{};
  for (std::int64_t& number : head) number = whole(text, text.field(), "first line");
  if (const std::string_view more = text.field(); !more.empty())
    text.refuse("first line", fmt::format("'{}' after three numbers", more.substr(0, 40)), "nothing");
  if (head[2] == 0) text.refuse("labels of the first line", "0", "at least 1");

  RawSplit split;
  split.inputs.features = static_cast<std::int32_t>(head[1]);
  split.inputs.sparse.row_ptr.push_back(0);
  split.labels.sets.count = static_cast<std::int32_t>(head[2]);
  split.labels.sets.row_ptr.push_back(0);
  const std::int64_t wanted = options.max_rows > 0 ? std::min(options.max_rows, head[0]) : head[0];
  while (split.inputs.samples < wanted && text.start_line(false)) {
    // A line that starts with a field of features has no labels either.
    const bool none = text.starts_blank() || SparseText(text).field().find(':') != std::string_view::npos;
    add_labels(text, none ? std::string_view{} : text.field(), split.labels.sets);
    text.read_row(0, options.duplicates == "sum", options.allow_nonfinite, split.inputs.sparse);
    if (text.largest() >= head[1])
      text.refuse("index", fmt::format("{}", text.largest()),
                  fmt::format("below {}, the features of the first line", head[1]));
    ++split.inputs.samples;
  }
  if (split.inputs.samples < wanted)
    text.refuse("samples", fmt::format("{}", split.inputs.samples),
                fmt::format("{} as the first line says", head[0]));
  text.check_count("features of the first line", head[1], split.inputs.sparse.columns.size(), "");
  text.check_count("labels of the first line", head[2], split.labels.sets.labels.size(), "");
  if (wanted == head[0] && text.start_line(/*skip_empty=*/true))
    text.refuse("samples", "more", fmt::format("{} as the first line says", head[0]));
  return split;
}

}  // namespace tulle
