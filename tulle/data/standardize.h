#pragma once

#include <string>
#include <string_view>

#include "tulle/data/dataset.h"

namespace tulle {

inline constexpr std::string_view kScalings[] = {"none",    "unit",     "standard", "center",
                                                 "channel", "imagenet", "minmax",   "maxabs"};

/// The scaling `kind`, one of kScalings, fitted to the training samples alone:
///   none      nothing
///   unit      x / 255
///   standard  (x - mean) / population standard deviation, both in double
///   center    (x - mean) / the deviation of all features together: those that vary more keep their lead
///   channel   (x - mean) / deviation of all pixels of a channel, for images
///   imagenet  (x / 255 - mean) / deviation, three of each: those of ImageNet's red, green and blue, for
///             colour images
///   minmax    (x - min) / (max - min)
///   maxabs    x / max |x|
/// Sparse inputs stay sparse: nothing is subtracted from them, standard and center divide by the deviation
/// (of all values, those that are not stored counted as 0) and minmax is maxabs. A feature that does not vary
/// in `train` (or by less than a normal float) gets deviation 0: it becomes 0 in all data. The same bits for
/// any number of threads. Cost: two passes over the data. Throws tulle::Error (kConfig) for an unknown kind.
Scaling fit_scaling(const std::string& kind, const Features& train, const ImageShape& image = {});

}  // namespace tulle
