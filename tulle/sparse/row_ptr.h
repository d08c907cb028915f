#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "tulle/base/aligned.h"
#include "tulle/base/parallel.h"

namespace tulle {

/// Where the connections of each row of a CSR pattern begin: those of row r are [ptr[r], ptr[r + 1]). In 8
/// bytes a row as it is made; shrink() leaves 4 below 2^32 connections, and none where all rows are as long.
class RowPtr {
 public:
  /// Of no rows.
  RowPtr() : RowPtr(RawVector<std::int64_t>{0}) {}
  explicit RowPtr(RawVector<std::int64_t> begins) : rows_(begins.size() - 1), wide_(std::move(begins)) {}

  /// One more than there are rows.
  std::size_t size() const { return rows_ + 1; }
  std::int64_t operator[](std::size_t row) const {
    if (!wide_.empty()) return wide_[row];
    return narrow_.empty() ? static_cast<std::int64_t>(row) * each_ : narrow_[row];
  }
  std::int64_t front() const { return (*this)[0]; }
  std::int64_t back() const { return (*this)[rows_]; }
  /// The entries from `first` on, as many as `to` takes.
  void copy(std::size_t first, std::span<std::int64_t> to) const;
  std::vector<std::int64_t> all() const;
  /// The first row of `rows` that begins after connection k; rows.end if none does. Cost: O(log rows).
  std::int64_t first_after(Range rows, std::int64_t k) const;

  /// As an array, which there is until shrink(), and beyond 2^32 connections also then. Throws
  /// std::logic_error if not is_wide().
  bool is_wide() const { return !wide_.empty(); }
  std::span<const std::int64_t> wide() const;
  /// Into the least memory; the numbers stay. Cost: O(rows).
  void shrink();
  /// Whether all rows are as long and no memory is taken, after shrink().
  bool is_even() const { return wide_.empty() && narrow_.empty(); }

  /// Of the numbers, however they are kept. Cost: O(rows).
  bool operator==(const RowPtr& other) const;

 private:
  std::size_t rows_ = 0;
  std::int64_t each_ = 0;  // connections of a row, where neither array has any
  RawVector<std::int64_t> wide_;
  RawVector<std::uint32_t> narrow_;
};

/// The same as for an array (base/parallel.h): rows with nearly equal numbers of connections for each of
/// `parts`.
std::vector<std::int64_t> balanced_rows(const RowPtr& row_ptr, Range rows, int parts);
std::vector<std::int64_t> balanced_rows(const RowPtr& row_ptr, int parts);

}  // namespace tulle
