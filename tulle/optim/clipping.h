#pragma once

#include <span>

#include "tulle/nn/parameter.h"

namespace tulle {

/// Scales all gradients down by one factor so that their Euclidean norm together is at most `limit`. The same
/// bits for any number of threads. Cost: two passes over the gradients at most.
void clip_by_norm(std::span<Parameter* const> parameters, double limit);

/// The largest magnitude, NaN if there is one; 0 of none. Cost: a pass.
float largest_magnitude(std::span<const float> values);

/// Bounds the magnitude of every gradient by `limit`; NaN stays.
void clip_by_value(std::span<Parameter* const> parameters, float limit);

}  // namespace tulle
