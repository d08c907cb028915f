#include "tulle/data/array.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "tulle/base/half.h"
#include "tulle/data/refuse.h"

namespace tulle {
namespace {

double decode(const Array& array, std::size_t place) {
  std::uint64_t raw = 0;
  for (std::size_t b = 0; b < array.item; ++b) {
    const std::size_t from = array.big_endian ? b : array.item - 1 - b;
    raw = raw << 8 | static_cast<std::uint64_t>(array.bytes[place * array.item + from]);
  }
  const int unused = 64 - 8 * static_cast<int>(array.item);
  switch (array.type) {
    case Array::Type::kInt:
      return static_cast<double>(static_cast<std::int64_t>(raw << unused) >> unused);
    case Array::Type::kFloat:
      if (array.item == 2) return half_to_float(static_cast<std::uint16_t>(raw));
      if (array.item == 4) return std::bit_cast<float>(static_cast<std::uint32_t>(raw));
      return std::bit_cast<double>(raw);
    default:
      return static_cast<double>(raw);
  }
}

const Array* find(std::span<const Array> arrays, std::string_view name) {
  const auto found = std::ranges::find(arrays, name, &Array::name);
  return found == arrays.end() ? nullptr : &*found;
}

std::string shape_text(const Array& array) { return fmt::format("({})", fmt::join(array.shape, ", ")); }

void check_finite(float value, std::string_view array, std::int64_t row, std::int64_t column,
                  const std::string& file, const ReadOptions& options) {
  if (std::isfinite(value) || options.allow_nonfinite) return;
  refuse(file, fmt::format("array '{}', found {} at row {}, column {}, expected finite numbers of 32-bit "
                           "floating point; data.nan = \"zero\" or \"drop\" allows it",
                           array, value, row, column));
}

Features dense_features(const Array& array, const std::string& file, const ReadOptions& options) {
  if (array.type == Array::Type::kBytes)
    refuse(file, fmt::format("array '{}', found text, expected numbers", array.name));
  if (array.shape.size() < 2)
    refuse(file, fmt::format("array '{}', found shape {}, expected a row per sample", array.name,
                             shape_text(array)));
  const std::int64_t rows = array.shape[0], features = rows == 0 ? 0 : array.size() / rows;
  if (features > std::numeric_limits<std::int32_t>::max())
    refuse(file,
           fmt::format("array '{}', found {} features, expected fewer than 2^31", array.name, features));
  Features inputs;
  inputs.samples = options.max_rows > 0 ? std::min(options.max_rows, rows) : rows;
  inputs.features = static_cast<std::int32_t>(features);
  const std::int64_t count = inputs.samples * features;
  if (array.type == Array::Type::kUnsigned && array.item == 1 && !array.column_major) {
    const auto* const first = reinterpret_cast<const std::uint8_t*>(array.bytes.data());
    inputs.bytes.assign(first, first + count);
    return inputs;
  }
  inputs.floats.resize(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    const auto value = static_cast<float>(array.at(i));
    check_finite(value, array.name, i / features, i % features, file, options);
    inputs.floats[static_cast<std::size_t>(i)] = value;
  }
  return inputs;
}

std::int64_t whole_at(const Array& array, std::int64_t i, std::int64_t below, const std::string& file) {
  const double value = array.at(i);
  if (!(value >= 0.0 && value < static_cast<double>(below)) || value != std::floor(value))
    refuse(file, fmt::format("array '{}', found {} at {}, expected a whole number below {}", array.name,
                             value, i, below));
  return static_cast<std::int64_t>(value);
}

const Array& needed(std::span<const Array> arrays, std::string_view name, const std::string& file) {
  const Array* const array = find(arrays, name);
  if (array == nullptr)
    refuse(file, fmt::format("arrays, found no '{}', expected one as SciPy's save_npz writes it", name));
  return *array;
}

struct Entry {
  std::int64_t row;
  std::int32_t column;
  float value;
};

// A sparse matrix as save_npz writes it, entry by entry.
AlignedVector<Entry> sparse_entries(std::span<const Array> arrays, const std::string& format,
                                    std::int64_t rows, std::int64_t columns, const std::string& file,
                                    const ReadOptions& options) {
  const Array& data = needed(arrays, "data", file);
  AlignedVector<Entry> entries(static_cast<std::size_t>(data.size()));
  const auto fill = [&](std::int64_t k, std::int64_t row, std::int64_t column) {
    const auto value = static_cast<float>(data.at(k));
    check_finite(value, data.name, row, column, file, options);
    entries[static_cast<std::size_t>(k)] = {row, static_cast<std::int32_t>(column), value};
  };
  if (format == "coo") {
    const Array &row = needed(arrays, "row", file), &col = needed(arrays, "col", file);
    if (row.size() != data.size() || col.size() != data.size())
      refuse(file, fmt::format("arrays row and col, found {} and {} entries, expected {}", row.size(),
                               col.size(), data.size()));
    for (std::int64_t k = 0; k < data.size(); ++k)
      fill(k, whole_at(row, k, rows, file), whole_at(col, k, columns, file));
    return entries;
  }
  if (format != "csr" && format != "csc")
    refuse(file, fmt::format("sparse format, found '{}', expected csr, csc or coo", format));
  const bool by_row = format == "csr";
  const Array &indptr = needed(arrays, "indptr", file), &indices = needed(arrays, "indices", file);
  const std::int64_t outer = by_row ? rows : columns;
  if (indptr.size() != outer + 1 || indices.size() != data.size())
    refuse(file, fmt::format("arrays indptr and indices, found {} and {} entries, expected {} and {}",
                             indptr.size(), indices.size(), outer + 1, data.size()));
  std::int64_t k = 0;
  for (std::int64_t o = 0; o < outer; ++o) {
    const std::int64_t begin = whole_at(indptr, o, data.size() + 1, file),
                       end = whole_at(indptr, o + 1, data.size() + 1, file);
    if (begin != k || end < begin)
      refuse(file, fmt::format("array 'indptr', found {} to {} at {}, expected ascending numbers from {}",
                               begin, end, o, k));
    for (; k < end; ++k) {
      const std::int64_t inner = whole_at(indices, k, by_row ? columns : rows, file);
      by_row ? fill(k, o, inner) : fill(k, inner, o);
    }
  }
  if (k != data.size())
    refuse(file, fmt::format("array 'indptr', found {} as its end, expected {}", k, data.size()));
  return entries;
}

Features sparse_features(std::span<const Array> arrays, const std::string& file, const ReadOptions& options) {
  const Array& shape = needed(arrays, "shape", file);
  if (shape.size() != 2)
    refuse(file, fmt::format("array 'shape', found {} numbers, expected 2", shape.size()));
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  const std::int64_t rows = whole_at(shape, 0, std::int64_t{1} << 32, file),
                     columns = whole_at(shape, 1, kMost, file);
  const Array* const format = find(arrays, "format");
  AlignedVector<Entry> entries =
      sparse_entries(arrays, format == nullptr ? "csr" : format->text(), rows, columns, file, options);
  const auto before = [](const Entry& a, const Entry& b) {
    return a.row < b.row || (a.row == b.row && a.column < b.column);
  };
  if (!std::ranges::is_sorted(entries, before)) std::ranges::stable_sort(entries, before);
  Features inputs;
  inputs.samples = options.max_rows > 0 ? std::min(options.max_rows, rows) : rows;
  // A row pointer for every row that is claimed: no more than the file's own size can pay for, or empty rows.
  if (rows > static_cast<std::int64_t>(entries.size()) * 1024 + (1 << 20))
    refuse(file,
           fmt::format("array 'shape', found {} rows for {} entries, expected fewer", rows, entries.size()));
  inputs.features = static_cast<std::int32_t>(columns);
  SparseRows& sparse = inputs.sparse;
  sparse.row_ptr.push_back(0);
  auto next = entries.begin();
  for (std::int64_t row = 0; row < inputs.samples; ++row) {
    for (; next != entries.end() && next->row == row; ++next) {
      const bool again = static_cast<std::int64_t>(sparse.columns.size()) > sparse.row_ptr.back() &&
                         sparse.columns.back() == next->column;
      if (again && options.duplicates != "sum")
        refuse(file, fmt::format("sparse matrix, found column {} twice in row {}, expected each once; "
                                 "data.duplicates = \"sum\" adds them",
                                 next->column, row));
      if (again) {
        sparse.values.back() += next->value;
        check_finite(sparse.values.back(), "data", row, next->column, file, options);
        continue;
      }
      sparse.columns.push_back(next->column);
      sparse.values.push_back(next->value);
    }
    sparse.row_ptr.push_back(static_cast<std::int64_t>(sparse.columns.size()));
  }
  return inputs;
}

// One label a sample, or a row of 0 and 1. one_sample: there is no more than one.
RawLabels labels_of(const Array& array, bool one_sample, const std::string& file,
                    const ReadOptions& options) {
  RawLabels labels;
  if (array.type == Array::Type::kBytes)
    refuse(file, fmt::format("array '{}', found text, expected numbers", array.name));
  if (array.size() == 0) return labels;
  std::int64_t rows = array.shape.empty() ? 1 : array.shape[0];
  const std::int64_t width = rows == 0 ? 1 : array.size() / rows;
  // MATLAB has no vectors: labels may lie in one row.
  const bool lies = array.shape.size() == 2 && rows == 1 && array.shape[1] > 1 && !one_sample;
  if (lies) rows = array.shape[1];
  if (options.max_rows > 0) rows = std::min(rows, options.max_rows);
  if (width <= 1 || lies) {
    for (std::int64_t i = 0; i < rows; ++i) labels.numbers.push_back(array.at(i));
    return labels;
  }
  labels.sets.count = static_cast<std::int32_t>(width);
  labels.sets.row_ptr.push_back(0);
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t c = 0; c < width; ++c) {
      const double value = array.at(i * width + c);
      if (value != 0.0 && value != 1.0)
        refuse(file, fmt::format("array '{}', found {} in row {}, expected 0 or 1 where a sample has several "
                                 "labels; data.task = \"regression\" takes one number a sample",
                                 array.name, value, i));
      if (value == 1.0) labels.sets.labels.push_back(static_cast<std::int32_t>(c));
    }
    labels.sets.row_ptr.push_back(static_cast<std::int64_t>(labels.sets.labels.size()));
  }
  return labels;
}

}  // namespace

std::int64_t Array::size() const {
  std::int64_t product = 1;
  for (const std::int64_t side : shape) product *= side;
  return product;
}

double Array::at(std::int64_t i) const {
  if (!column_major || shape.size() < 2) return decode(*this, static_cast<std::size_t>(i));
  std::int64_t place = 0, stride = size();
  // From the last index to the first: the row-major number is taken apart, the column-major one put together.
  for (std::size_t d = shape.size(); d-- > 0;) {
    stride /= shape[d];
    place += i % shape[d] * stride;
    i /= shape[d];
  }
  return decode(*this, static_cast<std::size_t>(place));
}

std::string Array::text() const {
  std::string all;
  for (const std::byte byte : bytes)
    if (byte != std::byte{0}) all += static_cast<char>(byte);
  return all;
}

std::size_t array_bytes(const Array& array, std::size_t available, const std::string& file) {
  std::uint64_t bytes = array.item;
  for (const std::int64_t side : array.shape) {
    if (side < 0)
      refuse(file, fmt::format("array '{}', found a side of {}, expected 0 or more", array.name, side));
    // So that no product of the first sides overflows size(), either, whatever follows.
    if (side != 0 && bytes > std::numeric_limits<std::int64_t>::max() / static_cast<std::uint64_t>(side))
      refuse(file, fmt::format("array '{}', found shape {}, expected one that fits the file", array.name,
                               shape_text(array)));
    bytes *= static_cast<std::uint64_t>(side);
  }
  if (bytes > available)
    refuse(file,
           fmt::format("array '{}', found shape {} of {} bytes each, expected at most the {} bytes there are",
                       array.name, shape_text(array), array.item, available));
  return bytes;
}

RawSplit split_of(std::span<const Array> arrays, const std::string& file, const ReadOptions& options) {
  const bool named = options.arrays != "auto";
  const std::size_t comma = std::min(options.arrays.find(','), options.arrays.size());
  const auto choose = [&](std::initializer_list<std::string_view> usual,
                          std::string_view given) -> const Array* {
    if (named && given.empty()) return nullptr;
    if (!named) {
      for (const std::string_view name : usual)
        if (const Array* const array = find(arrays, name)) return array;
      return nullptr;
    }
    const Array* const array = find(arrays, given);
    std::vector<std::string_view> known;
    for (const Array& each : arrays) known.push_back(each.name);
    if (array == nullptr)
      refuse(file, fmt::format("data.arrays, found '{}', expected one of {}", given, fmt::join(known, ", ")));
    return array;
  };
  RawSplit split;
  bool one_sample = false;
  const std::string_view given = options.arrays;
  const Array* x = choose({"X", "x", "inputs"}, given.substr(0, comma));
  const Array* const y = choose({"y", "Y", "labels"}, given.substr(std::min(comma + 1, given.size())));
  if (x == nullptr && find(arrays, "shape") != nullptr && find(arrays, "data") != nullptr) {
    split.inputs = sparse_features(arrays, file, options);
    one_sample = needed(arrays, "shape", file).at(0) == 1.0;
  } else {
    if (x == nullptr && arrays.size() == 1) x = &arrays[0];
    if (x == nullptr && y == nullptr) {
      std::vector<std::string_view> known;
      for (const Array& each : arrays) known.push_back(each.name);
      refuse(file, fmt::format("arrays, found {}, expected X (and y); data.arrays names others",
                               fmt::join(known, ", ")));
    }
    const auto is_column = [](const Array& array) { return array.shape.size() == 2 && array.shape[1] == 1; };
    if (x != nullptr && (x->shape.size() <= 1 || (options.labels_alone && is_column(*x)))) {
      split.labels = labels_of(*x, /*one_sample=*/false, file, options);
      split.inputs.samples = static_cast<std::int64_t>(split.labels.size());
      return split;
    }
    if (x != nullptr) split.inputs = dense_features(*x, file, options);
    one_sample = x != nullptr && x->shape[0] == 1;
  }
  if (y != nullptr) split.labels = labels_of(*y, one_sample, file, options);
  return split;
}

}  // namespace tulle
