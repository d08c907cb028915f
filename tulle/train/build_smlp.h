#pragma once

#include <vector>

#include "tulle/train/build.h"
#include "tulle/vision/smlp_shape.h"

namespace tulle {

/// The sMLPNet that a config describes for these images. Throws tulle::Error (kConfig) if the data are no
/// images, or too large for the network.
SmlpShape smlp_shape(const Config& config, const Dataset& data);

/// The thirds of its inputs that every fuse layer reads, 0 to 2, ascending. Throws tulle::Error (kConfig) for
/// model.mix that names none or others.
std::vector<int> mix_parts(const Config& config);

/// Its network: connections drawn for the pointwise layers, weights at their start values; or those of
/// train.start_from, whose head is kept where it is for the same classes, or as many without names, and drawn
/// anew for others. Throws tulle::Error as load_model(), and kConfig naming both shapes where they differ.
Network build_smlp(const Config& config, const Dataset& data);

}  // namespace tulle
