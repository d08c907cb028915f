#pragma once

#include <cstdint>
#include <string>

#include "tulle/base/aligned.h"

namespace tulle {

/// One trainable array with its gradient and what an optimizer keeps for each entry. Arrays of a sparse
/// weight have one entry per connection, in topology order. The optimizer sizes the state arrays it uses; the
/// others stay empty.
struct Parameter {
  enum class Kind { kWeight, kBias, kActivation };

  std::string name;  // "layers.0.weight": the name in model files
  Kind kind = Kind::kWeight;
  AlignedVector<float> value;
  AlignedVector<float> gradient;
  AlignedVector<float> m1;           // momentum or first moment
  AlignedVector<float> m2;           // second moment
  AlignedVector<std::uint16_t> age;  // steps since birth, saturating
  AlignedVector<float> outer;        // momentum of outer steps (parallel.mode = "local-sgd")

  Parameter(std::string name_of, Kind kind_of, std::size_t size)
      : name(std::move(name_of)), kind(kind_of), value(size, 0.0f), gradient(size, 0.0f) {}
};

}  // namespace tulle
