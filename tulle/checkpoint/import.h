#pragma once

#include <string>
#include <vector>

#include "tulle/checkpoint/model.h"

namespace tulle {

/// How the weights of another program become a perceptron.
struct ImportOptions {
  std::vector<std::int32_t> sizes{};  // input, hidden..., output; empty: as the tensors say
  std::string activation = "relu";    // of the hidden layers
  double alpha = 0.6;
  std::string loss = "cross-entropy";
  std::string scale = "none";  // what was done to raw features: none or unit
};

/// What one layer was made from.
struct ImportedLayer {
  std::string tensor;
  std::int64_t zeros = 0;  // weights that are exactly 0
  bool masked = false;     // weight_orig times weight_mask, as PyTorch's pruning leaves them
};

struct Import {
  Model model;  // every layer dense
  std::vector<ImportedLayer> layers;
};

/// A PyTorch state dict of linear layers, saved as safetensors: tensors NAME.weight of two dimensions
/// [outputs, inputs], in the natural order of their names ("fc2" before "fc10"), with NAME.bias where there
/// is one; or pairs NAME.weight_orig and NAME.weight_mask, which are multiplied. 16-, 32- and 64-bit floats.
/// Throws tulle::Error: kMissingInput, kPermission, kBadData with the file and the tensor for anything that
/// does not chain, kConfig for options that cannot be.
Import import_safetensors(const std::string& path, const ImportOptions& options);

}  // namespace tulle
