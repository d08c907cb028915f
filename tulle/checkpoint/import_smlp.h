#pragma once

#include "tulle/checkpoint/import.h"
#include "tulle/checkpoint/safetensors.h"

namespace tulle {

/// Whether a file holds the state dict of an sMLPNet, under the names of the published code.
bool is_smlp(const SafetensorsFile& file);

/// That network, dense; its shape follows from the shapes of the tensors. A prefix "module." of all names is
/// left away. Throws tulle::Error (kBadData) naming every tensor that is missing, unknown or of another
/// shape.
Import import_smlp(const SafetensorsFile& file);

/// The values of a tensor of 16-, 32- or 64-bit floats. Throws tulle::Error (kBadData) for another type.
std::vector<float> floats_of(const SafetensorsFile& file, const TensorView& tensor);

}  // namespace tulle
