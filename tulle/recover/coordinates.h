#pragma once

#include <cstdint>

#include "tulle/data/dataset.h"
#include "tulle/recover/samples.h"

namespace tulle {

/// How pixel places become inputs of an implicit neural representation.
struct CoordinateOptions {
  std::int64_t frequencies = 750;  // features are their sines, then their cosines
  double sigma = 0.0;  // cycles per image, deviation of the frequencies; 0: a quarter of the longer side
  double channel_sigma = 0.05;  // cycles per channel
  bool integer = false;         // published: (row, column[, channel]) as they are, sigma 2 (gray) or 5
  std::uint64_t seed = 0;
};

/// One sample for each pixel value, plane after plane, row by row: [sin(2 pi B c), cos(2 pi B c)] of its
/// place c = ((row + 0.5) / height, (column + 0.5) / width[, channel]), with B ~ N(0, sigma^2). Phases in
/// double. Source: Tancik et al. 2020, arXiv 2006.10739; arXiv 2509.20323. Cost and memory: pixels * channels
/// * 2 * frequencies.
Samples pixel_samples(const ImageShape& shape, const CoordinateOptions& options);

}  // namespace tulle
