#pragma once

// What writers of safetensors files share: one process, or several ranks.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tulle/checkpoint/safetensors_header.h"

namespace tulle {

/// Tensors are sorted by element size, largest first, then by name.
template <class Tensor>
bool before_in_file(const Tensor& a, const Tensor& b) {
  return std::pair(dtype_bytes(b.dtype), std::string_view(a.name)) <
         std::pair(dtype_bytes(a.dtype), std::string_view(b.name));
}

/// The first bytes of a file with these tensors, one after another, and the checksums behind them. `name`
/// stands for the file in messages. Throws std::invalid_argument for what a reader would refuse.
std::string header_of(const std::string& name, const Metadata& metadata, std::vector<TensorEntry> tensors);

}  // namespace tulle
