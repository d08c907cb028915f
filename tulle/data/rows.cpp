#include "tulle/data/rows.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "tulle/base/random.h"

namespace tulle {
namespace {

// Values of row rows[i] to row i of `out`, which may be `in` if rows ascend. Nothing for an array that is not
// filled.
template <class Vector>
void gather_rows(const Vector& in, std::span<const std::uint32_t> rows, std::size_t per_row, Vector& out) {
  if (in.empty()) return;
  if (out.size() < rows.size() * per_row) out.resize(rows.size() * per_row);
  for (std::size_t i = 0; i < rows.size(); ++i)
    if (&in != &out || rows[i] != i)
      std::copy_n(in.data() + rows[i] * per_row, per_row, out.data() + i * per_row);
  out.resize(rows.size() * per_row);
}

// The same for rows of different lengths.
template <class Vector>
void gather_ragged(const std::vector<std::int64_t>& row_ptr, const Vector& in,
                   std::span<const std::uint32_t> rows, Vector& out) {
  Vector taken;
  for (const std::uint32_t row : rows)
    taken.insert(taken.end(), in.begin() + row_ptr[row], in.begin() + row_ptr[std::size_t{row} + 1]);
  out = std::move(taken);
}

std::vector<std::int64_t> gathered_row_ptr(const std::vector<std::int64_t>& row_ptr,
                                           std::span<const std::uint32_t> rows) {
  std::vector<std::int64_t> taken{0};
  for (const std::uint32_t row : rows)
    taken.push_back(taken.back() + row_ptr[std::size_t{row} + 1] - row_ptr[row]);
  return taken;
}

void gather_rows(const SparseRows& in, std::span<const std::uint32_t> rows, SparseRows& out) {
  if (in.row_ptr.empty()) return;
  gather_ragged(in.row_ptr, in.columns, rows, out.columns);
  gather_ragged(in.row_ptr, in.values, rows, out.values);
  out.row_ptr = gathered_row_ptr(in.row_ptr, rows);
}

void gather_rows(const LabelSets& in, std::span<const std::uint32_t> rows, LabelSets& out) {
  if (in.empty()) return;
  out.count = in.count;
  gather_ragged(in.row_ptr, in.labels, rows, out.labels);
  out.row_ptr = gathered_row_ptr(in.row_ptr, rows);
}

void gather_rows(const Split& in, std::span<const std::uint32_t> rows, Split& out) {
  const auto features = static_cast<std::size_t>(in.inputs.features);
  gather_rows(in.inputs.bytes, rows, features, out.inputs.bytes);
  gather_rows(in.inputs.floats, rows, features, out.inputs.floats);
  gather_rows(in.inputs.sparse, rows, out.inputs.sparse);
  out.inputs.generated.source = in.inputs.generated.source;
  gather_rows(in.inputs.generated.samples, rows, 1, out.inputs.generated.samples);
  gather_rows(in.sets, rows, out.sets);
  gather_rows(in.classes, rows, 1, out.classes);
  gather_rows(in.targets, rows, static_cast<std::size_t>(in.target_width), out.targets);
  gather_rows(in.weights, rows, 1, out.weights);
  out.target_width = in.target_width;
  out.inputs.features = in.inputs.features;
  out.inputs.samples = static_cast<std::int64_t>(rows.size());
}

}  // namespace

Split take_rows(const Split& split, std::span<const std::uint32_t> rows) {
  Split taken;
  gather_rows(split, rows, taken);
  return taken;
}

void keep_rows(Split& split, std::span<const std::uint32_t> rows) {
  if (rows.size() != static_cast<std::size_t>(split.inputs.samples)) gather_rows(split, rows, split);
}

Split split_off(Split& train, double fraction, std::size_t classes, std::uint64_t seed) {
  std::vector<std::vector<std::uint32_t>> members(std::max<std::size_t>(classes, 1));
  for (std::uint32_t row = 0; row < static_cast<std::uint32_t>(train.inputs.samples); ++row)
    members[train.classes.empty() ? 0 : static_cast<std::size_t>(train.classes[row])].push_back(row);

  std::vector<std::uint32_t> kept, moved;
  double owed = 0.0;  // what rounding, or a class with one member, could not give, later classes give
  for (std::size_t c = 0; c < members.size(); ++c) {
    const auto count = static_cast<std::int64_t>(members[c].size());
    owed += fraction * static_cast<double>(count);
    const std::int64_t taken =
        std::max<std::int64_t>(std::min<std::int64_t>(std::llround(owed), count - 1), 0);
    owed -= static_cast<double>(taken);
    const auto order =
        random_permutation(static_cast<std::uint32_t>(count),
                           {.seed = seed, .stream = Stream::kSplit, .layer = static_cast<std::uint32_t>(c)});
    for (std::int64_t i = 0; i < count; ++i)
      (i < taken ? moved : kept).push_back(members[c][order[static_cast<std::size_t>(i)]]);
  }
  std::sort(kept.begin(), kept.end());
  std::sort(moved.begin(), moved.end());
  Split valid = take_rows(train, moved);
  keep_rows(train, kept);
  return valid;
}

}  // namespace tulle
