#pragma once

#include <cstdint>
#include <functional>
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
  AlignedVector<float> gradient;     // empty where a layer takes the step within its backward pass
  AlignedVector<float> m1;           // momentum or first moment
  AlignedVector<float> m2;           // second moment
  AlignedVector<std::uint16_t> age;  // steps since birth, saturating
  std::int64_t state_begin = 0;      // of value, where m1, m2 and age begin: ranks may keep a part each
  AlignedVector<float> outer;        // momentum of outer steps (parallel.mode = "local-sgd")
  AlignedVector<float> average;      // of value over the steps (train.ema_decay)

  // In place of value and m1, which then are empty, where they are kept in bfloat16 (nn/bf16_weights.h).
  AlignedVector<std::uint16_t> bf16_value, bf16_m1;

  Parameter(std::string name_of, Kind kind_of, std::size_t size, bool has_gradient = true)
      : name(std::move(name_of)), kind(kind_of), value(size, 0.0f), gradient(has_gradient ? size : 0, 0.0f) {}

  std::size_t size() const { return value.empty() ? bf16_value.size() : value.size(); }
  bool is_bf16() const { return !bf16_value.empty(); }
};

/// Entries of a parameter that lie one after another, in its arrays or gathered from them. Arrays that the
/// optimizer does not use are null.
struct ParameterSlice {
  Parameter::Kind kind = Parameter::Kind::kWeight;
  std::int64_t size = 0;
  float* value = nullptr;
  const float* gradient = nullptr;
  float* m1 = nullptr;
  float* m2 = nullptr;
  std::uint16_t* age = nullptr;
};

/// The `size` entries from `begin` on, where they are; what the optimizer keeps of them is there.
inline ParameterSlice slice_of(Parameter& parameter, std::int64_t begin, std::int64_t size) {
  const auto from = [](auto& array, std::int64_t place) {
    return array.empty() ? nullptr : array.data() + place;
  };
  const std::int64_t kept = begin - parameter.state_begin;
  return {parameter.kind,
          size,
          from(parameter.value, begin),
          from(parameter.gradient, begin),
          from(parameter.m1, kept),
          from(parameter.m2, kept),
          from(parameter.age, kept)};
}

/// An optimizer's step on a slice; called by several threads at once.
using WeightStep = std::function<void(const ParameterSlice&)>;

}  // namespace tulle
