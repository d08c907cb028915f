#pragma once

#include <cstdint>
#include <vector>

#include "bench/graph_challenge/network.h"

namespace tulle::bench {

struct InferenceResult {
  std::vector<std::int32_t> categories;  // images, from 0, that have a value left after the last layer
  double seconds = 0.0;                  // from the images to the categories
  std::int64_t lane_layers = 0;          // images and padding, summed over the layers they were computed in
};

/// The whole network on all images, a panel of images at a time through all layers, so that activations stay
/// in a core's cache. With `compact`, the first layers run over all panels in turn, and images that have
/// become zero are taken out by merging panels; what is zero stays zero, as the bias is negative. Values are
/// those of fp32 sums in the order of the sources, with and without.
InferenceResult infer(const ChallengeNetwork& network, const ChallengeImages& images, bool compact);

/// The same in double precision, image by image.
std::vector<std::int32_t> infer_in_double(const ChallengeNetwork& network, const ChallengeImages& images);

}  // namespace tulle::bench
