#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tulle/base/random.h"
#include "tulle/data/dataset.h"

namespace tulle {

/// What is done to training images, drawn anew for every image and epoch. Flip, shift, rotate and crop are
/// one map of the plane, and pixels that lie outside of the image are 0 (black).
struct Augmentation {
  bool flip = false;    // left and right change places, one time in two
  double shift = 0.0;   // by up to this share of the sides, in whole pixels
  double rotate = 0.0;  // by up to so many degrees
  double crop = 1.0;    // a part of this share of the area or more, and 3:4 to 4:3 as wide as high, fills
                        // the image

  double erase = 0.0;  // one time in 1 / erase, a box of it becomes pixels from anywhere in the image

  double mixup = 0.0;   // alpha of the law of the shares when two images are blended; 0: never
  double cutmix = 0.0;  // the same when a box of one is put into the other

  bool mixes() const { return mixup > 0.0 || cutmix > 0.0; }
  bool none() const {
    return !flip && shift == 0.0 && rotate == 0.0 && crop == 1.0 && erase == 0.0 && !mixes();
  }
};

/// How the images of a batch are put together with those of the batch in reverse order.
struct ImageMix {
  float share = 1.0f;  // of the first image
  bool box = false;  // cut mix: the pixels of a box change places, of `share` of the area those outside of it
  int top = 0, left = 0, bottom = 0, right = 0;
};

/// From config texts: hflip, shift:SHARE, rotate:DEGREES, crop:SHARE, erase:PROBABILITY, mixup:ALPHA,
/// cutmix:ALPHA. Throws tulle::Error (kConfig) for others.
Augmentation parse_augmentation(std::span<const std::string> texts);

/// One image, augmented. Shapes: `out` planes [channel][row][column]. `random` is asked at `index` and the
/// seven places after, in further layers too. Whole shifts and flips copy pixels; all else is bilinear. What
/// is erased: a box of 2 to 33 % of the area, 3:10 to 10:3 as wide as high (Zhong et al. 2017, arXiv
/// 1708.04896; with pixels of the image itself where that has random ones, so that any range of values will
/// do). Cost: one write a value.
void augment(const Features& images, std::int64_t sample, const ImageShape& shape, const Augmentation& how,
             const Random& random, std::uint64_t index, float* out);

/// A share drawn from Beta(alpha, alpha); with both kinds, one of them each time in two. `random` is asked
/// from `index` on. Sources: Zhang et al. 2017 (arXiv 1710.09412), Yun et al. 2019 (arXiv 1905.04899).
ImageMix draw_mix(const ImageShape& shape, const Augmentation& how, const Random& random,
                  std::uint64_t index);

/// Both images become mixed with the other. Shapes: planes [channel][row][column].
void mix(const ImageMix& how, const ImageShape& shape, float* first, float* second);

}  // namespace tulle
