#pragma once

#include <span>
#include <string_view>

namespace tulle {

/// How sparse layers read activations (kBf16), or activations and weights (kInt8, inference alone), while
/// they multiply. Sums, biases, activation functions and dense layers are floats always. Networks of compact
/// layers (Storage::kCompact) also keep their activations so between the layers, and nothing but these is
/// rounded.
enum class Precision { kFloat, kBf16, kInt8 };

struct PrecisionInfo {
  std::string_view name;
  std::string_view help;
  Precision precision;
};

/// For inference; a training knows those before the last, int8.
std::span<const PrecisionInfo> precisions();
std::span<const PrecisionInfo> training_precisions();

std::string_view name_of(Precision precision);

}  // namespace tulle
