#include "tulle/nn/precision.h"

#include <cstddef>

namespace tulle {
namespace {

constexpr PrecisionInfo kPrecisions[] = {
    {"f32", "floats of 32 bits", Precision::kFloat},
    {"bf16", "activations rounded to bfloat16 where sparse layers multiply them; sums stay floats",
     Precision::kBf16},
    {"int8", "weights and activations of sparse layers in bytes", Precision::kInt8},
};

}  // namespace

std::span<const PrecisionInfo> precisions() { return kPrecisions; }

std::string_view name_of(Precision precision) {
  return kPrecisions[static_cast<std::size_t>(precision)].name;
}

std::span<const PrecisionInfo> training_precisions() { return std::span(kPrecisions).first(2); }

}  // namespace tulle
