#pragma once

#include <string>
#include <string_view>

#include "tulle/export/onnx_graph.h"
#include "tulle/nn/network.h"

namespace tulle {

/// The name of the logits, [batch, classes], of an sMLPNet that is given `x`, [batch, pixels], scaled. The
/// nodes and constants are named as in the published state dict; sparse layers are written in the form called
/// `form`, their samples being the tokens of all images.
std::string write_onnx_smlp(OnnxGraph& graph, Network& network, std::string_view form, const std::string& x);

}  // namespace tulle
