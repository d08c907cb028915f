#pragma once

#include <cstdint>
#include <span>

#include "tulle/base/parallel.h"

namespace tulle::kernels {

/// Turns rows of a data set into one panel of Panels (base/panels.h), scaled:
/// panel[f][lane] = (rows[samples[lane]][f] - mean[f]) * factor[f] for every f in `features`; the lanes
/// beyond samples.size() become 0. Other features of the panel are left as they are, so that threads may
/// share one.
///
/// Shapes  rows: any number of rows, `row_stride` values apart; mean, factor: one value a feature; panel:
///         [feature][width], width a multiple of 16 or 2, 4 or 8, and at least samples.size().
/// Cost    one read of each value, one write of the panel.
void gather_panel(const std::uint8_t* rows, std::int64_t row_stride, std::span<const std::uint32_t> samples,
                  Range features, const float* mean, const float* factor, float* panel, int width) noexcept;
void gather_panel(const float* rows, std::int64_t row_stride, std::span<const std::uint32_t> samples,
                  Range features, const float* mean, const float* factor, float* panel, int width) noexcept;

}  // namespace tulle::kernels
