#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tulle/base/random.h"
#include "tulle/data/dataset.h"

namespace tulle {

/// What is done to training images, drawn anew for every image and epoch. All of it is one map of the plane,
/// and pixels that lie outside of the image are 0 (black).
struct Augmentation {
  bool flip = false;    // left and right change places, one time in two
  double shift = 0.0;   // by up to this share of the sides, in whole pixels
  double rotate = 0.0;  // by up to so many degrees
  double crop = 1.0;    // a part of this share of the area or more, and 3:4 to 4:3 as wide as high, fills
                        // the image

  bool none() const { return !flip && shift == 0.0 && rotate == 0.0 && crop == 1.0; }
};

/// From config texts: hflip, shift:SHARE, rotate:DEGREES, crop:SHARE. Throws tulle::Error (kConfig) for
/// others.
Augmentation parse_augmentation(std::span<const std::string> texts);

/// One image, augmented. Shapes: `out` planes [channel][row][column]. `random` is asked at `index` and the
/// seven places after. Whole shifts and flips copy pixels; all else is bilinear. Cost: one write a value.
void augment(const Features& images, std::int64_t sample, const ImageShape& shape, const Augmentation& how,
             const Random& random, std::uint64_t index, float* out);

}  // namespace tulle
