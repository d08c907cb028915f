#pragma once

#include <string>

#include "tulle/report/metrics.h"

namespace tulle {

/// <figure> of the number of connections of each input: a picture with one cell for each pixel, its channels
/// added up, if the inputs are an image; bars by input otherwise. Images wider or higher than 128 pixels are
/// shown in means of blocks. Cost: O(inputs).
std::string inputs_figure(const InputsRecord& inputs);

/// Dark blue to yellow for `share` from 0 to 1, lightness rising evenly: "#rrggbb".
/// Source  viridis, S. van der Walt and N. Smith 2015, nine of its colours.
std::string heat_color(double share);

}  // namespace tulle
