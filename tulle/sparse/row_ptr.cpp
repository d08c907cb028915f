#include "tulle/sparse/row_ptr.h"

#include <atomic>
#include <limits>
#include <stdexcept>
#include <utility>

namespace tulle {
namespace {

constexpr std::int64_t kGrain = 1 << 14;

}  // namespace

void RowPtr::copy(std::size_t first, std::span<std::int64_t> to) const {
  for (std::size_t i = 0; i < to.size(); ++i) to[i] = (*this)[first + i];
}

std::vector<std::int64_t> RowPtr::all() const {
  std::vector<std::int64_t> numbers(size());
  copy(0, numbers);
  return numbers;
}

std::int64_t RowPtr::first_after(Range rows, std::int64_t k) const {
  while (rows.begin < rows.end) {
    const std::int64_t middle = rows.begin + (rows.end - rows.begin) / 2;
    if ((*this)[static_cast<std::size_t>(middle)] > k)
      rows.end = middle;
    else
      rows.begin = middle + 1;
  }
  return rows.end;
}

std::span<const std::int64_t> RowPtr::wide() const {
  if (wide_.empty()) throw std::logic_error("RowPtr: no array is left after shrink()");
  return wide_;
}

void RowPtr::shrink() {
  if (wide_.empty() || rows_ == 0) return;
  const std::int64_t each = wide_[1] - wide_[0];
  std::atomic<bool> even = true;
  const auto rows = static_cast<std::int64_t>(rows_);
  parallel_ranges(rows, kGrain, [&](Range range) {
    for (auto r = static_cast<std::size_t>(range.begin); r < static_cast<std::size_t>(range.end); ++r)
      if (wide_[r + 1] - wide_[r] != each) {
        even.store(false, std::memory_order_relaxed);
        return;
      }
  });
  if (even) {
    each_ = each;
  } else if (back() <= std::int64_t{std::numeric_limits<std::uint32_t>::max()}) {
    narrow_.resize(size());
    parallel_ranges(rows + 1, kGrain, [&](Range range) {
      for (auto r = static_cast<std::size_t>(range.begin); r < static_cast<std::size_t>(range.end); ++r)
        narrow_[r] = static_cast<std::uint32_t>(wide_[r]);
    });
  } else {
    return;
  }
  wide_ = RawVector<std::int64_t>();  // not {}, which would keep the memory
}

bool RowPtr::operator==(const RowPtr& other) const {
  if (size() != other.size()) return false;
  for (std::size_t r = 0; r < size(); ++r)
    if ((*this)[r] != other[r]) return false;
  return true;
}

std::vector<std::int64_t> balanced_rows(const RowPtr& row_ptr, Range rows, int parts) {
  return balanced_rows(rows, parts, [&](std::int64_t row) { return row_ptr[static_cast<std::size_t>(row)]; });
}

std::vector<std::int64_t> balanced_rows(const RowPtr& row_ptr, int parts) {
  return balanced_rows(row_ptr, {0, static_cast<std::int64_t>(row_ptr.size()) - 1}, parts);
}

}  // namespace tulle
