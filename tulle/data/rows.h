#pragma once

#include <cstdint>
#include <span>

#include "tulle/data/dataset.h"

namespace tulle {

/// The samples `rows` of `split`. Memory: a copy of them.
Split take_rows(const Split& split, std::span<const std::uint32_t> rows);

/// Leaves only the samples `rows` (ascending), in place.
void keep_rows(Split& split, std::span<const std::uint32_t> rows);

/// Moves `fraction` of the samples out of `train`: in all as many as the fraction says, of each class its
/// share as nearly as whole samples allow; never the last one of a class. Which ones follows from (seed,
/// Stream::kSplit, class). Order is kept in both parts. Regression counts as one class.
Split split_off(Split& train, double fraction, std::size_t classes, std::uint64_t seed);

}  // namespace tulle
