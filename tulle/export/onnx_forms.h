#pragma once

#include <span>
#include <string>
#include <string_view>

#include "tulle/export/onnx_graph.h"
#include "tulle/nn/layer.h"

namespace tulle {

/// The name of W x + b, [batch, outputs], for a layer that is given `x`, [batch, inputs].
using WriteOnnxSums = std::string(OnnxGraph& graph, const Layer& layer, const std::string& x);

/// A way to express a sparse layer in ONNX, which has no sparse product.
struct OnnxForm {
  std::string_view name;
  std::string_view help;
  WriteOnnxSums* write = nullptr;  // null: a name that stands for others (auto)
};

std::span<const OnnxForm> onnx_forms();

/// The form called `name`, for auto the one that suits `topology`. Throws Error kConfig if there is none.
const OnnxForm& find_onnx_form(std::string_view name, const Topology& topology);

/// Numbers that form ell stores for each connection of a sparse layer, as every row becomes as long as the
/// longest one. At least 1.
double ell_padding(const Topology& topology);

/// The name of W x + b for a dense layer, or a sparse one in the form called `form`.
std::string write_onnx_sums(OnnxGraph& graph, const Layer& layer, std::string_view form,
                            const std::string& x);

/// The name of z Phi(z), as activation gelu.
std::string write_onnx_gelu(OnnxGraph& graph, const std::string& z);

/// The name of f(z), [batch, outputs], f the activation of `layer`. Throws Error kBadData for an activation
/// that no operators are known for.
std::string write_onnx_activation(OnnxGraph& graph, Layer& layer, const std::string& z);

}  // namespace tulle
