#pragma once

#include <cstdint>

#include "tulle/nn/parameter.h"

namespace tulle {

/// Start values as PyTorch draws those of convolutions and linear layers, weights and biases alike: uniform
/// between -1 / sqrt(inputs) and 1 / sqrt(inputs). Values follow from the seed and the parameter's name.
void draw_uniform(Parameter& parameter, double inputs, std::uint64_t seed);

}  // namespace tulle
