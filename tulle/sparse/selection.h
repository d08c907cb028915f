#pragma once

#include <cstdint>
#include <span>

namespace tulle {

/// Marks with 1 the `count` entries of smallest magnitude among those with the same sign: negative ones are
/// values below 0, the others 0, -0 and above. Ties go by position, the lowest first; NaN counts as larger
/// than infinity. Entries that are not selected stay as they are in `marks`. `negative_count` and
/// `other_count` must not exceed what there is of each. Cost: O(size), four passes over the values, no copy
/// of them. Throws std::invalid_argument unless there is one mark per value and enough entries.
void mark_weakest_of_each_sign(std::span<const float> values, std::int64_t negative_count,
                               std::int64_t other_count, std::span<std::uint8_t> marks);

}  // namespace tulle
