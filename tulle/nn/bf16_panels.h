#pragma once

#include "tulle/base/panels.h"

namespace tulle {

/// Activations in bfloat16 as floats, in memory that grows to fit; exact. Cost: half a read, one write.
Panels<float> widened(Panels<const std::uint16_t> panels, PanelBuffer& memory);

/// rounded = the floats of panels of the same shape, to the nearest, ties to even. Cost: one read, half a
/// write.
void round_panels(Panels<const float> panels, Panels<std::uint16_t> rounded);

}  // namespace tulle
