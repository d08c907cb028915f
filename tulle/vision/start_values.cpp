#include "tulle/vision/start_values.h"

#include <cmath>

#include "tulle/base/random.h"

namespace tulle {
namespace {

// FNV-1a of the name: the sequence that a parameter's values come from.
std::uint32_t sequence_of(const std::string& name) {
  std::uint32_t hash = 2166136261u;
  for (const char character : name) hash = (hash ^ static_cast<unsigned char>(character)) * 16777619u;
  return (hash ^ (hash >> 24)) & 0xffffffu;
}

}  // namespace

void draw_uniform(Parameter& parameter, double inputs, std::uint64_t seed) {
  const Random random{.seed = seed, .stream = Stream::kValue, .layer = sequence_of(parameter.name)};
  const auto bound = static_cast<float>(1.0 / std::sqrt(inputs));
  for (std::size_t i = 0; i < parameter.value.size(); ++i)
    parameter.value[i] = (2.0f * random.uniform(i) - 1.0f) * bound;
}

}  // namespace tulle
