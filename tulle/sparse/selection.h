#pragma once

#include <bit>
#include <cstdint>
#include <span>

#include "tulle/sparse/row_share.h"

namespace tulle {

/// Whether a value is below 0, decided by its bits: a comparison would take denormals for 0 wherever they are
/// flushed, as parallel work does. NaN is not.
inline bool is_negative(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return bits > 0x80000000u && bits <= 0xff800000u;
}

/// Marks with 1 the `count` entries of smallest magnitude among those with the same sign: negative ones are
/// values below 0 (is_negative()), the others 0, -0 and above. Ties go by position, the lowest first; NaN
/// counts as larger than infinity. Entries that are not selected stay as they are in `marks`.
/// Where the values are those of some rows of a layer, entries are chosen, and counted, among all of it: the
/// same as if all lay in one array. Cost then: three messages of 32 KiB to every rank. `negative_count` and
/// `other_count` must not exceed what there is of each. Cost: O(size), four passes over the values, no copy
/// of them. Throws std::invalid_argument unless there is one mark per value and enough entries.
void mark_weakest_of_each_sign(std::span<const float> values, std::int64_t negative_count,
                               std::int64_t other_count, std::span<std::uint8_t> marks,
                               const RowShare& share = {});

}  // namespace tulle
