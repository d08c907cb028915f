#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tulle/data/dataset.h"
#include "tulle/nn/network.h"

namespace tulle {

/// A network with everything that turns raw data into predictions.
struct Model {
  Network network;
  std::string loss = "cross-entropy";    // also tells how outputs become predictions
  Scaling scaling;                       // applied to raw features
  std::vector<std::string> class_names;  // empty for regression
  int index_base = -1;                   // LIBSVM data: the index of its first feature; -1: it was none
  ImageShape image;                      // how the features lie, if they are pixels
  std::uint64_t seed = 0;
  std::string config;  // effective config of the training, as TOML
};

}  // namespace tulle
