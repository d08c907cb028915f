#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "tulle/train/train.h"

namespace tulle {

// Which cells ever were connections, in TrainingState::explored: a bit a cell, of the neurons' original
// numbers. Of a network in parts, each rank knows of those in its own. Source: in-time over-parametrisation,
// arXiv 2102.02887.

/// At the start: the connections there are. Nothing if the run has explored before.
void start_exploring(Run& run);
/// `grown` cells of a layer, by the network's numbers as they are now.
void explore(Run& run, std::size_t layer, std::span<const std::uint64_t> grown);
/// Explored cells of a layer, on all ranks together.
double explored_count(const Run& run, std::size_t layer);
/// Share of all cells that were explored, if that is noted.
std::optional<double> exploration(const Run& run);

}  // namespace tulle
