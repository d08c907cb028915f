#pragma once

#include <span>
#include <vector>

#include "tulle/nn/parameter.h"

namespace tulle {

/// Weights, biases and momentum that a compact layer keeps in bfloat16 (LayerOptions::bf16_weights): 8 bytes
/// a connection instead of 12, and 6 without momentum. All arithmetic is in floats; after a step both are
/// rounded up or down at random (kernels/rounding.h). Who must look at them as floats widens them meanwhile.
/// Each of these takes one array more while it works, and does nothing where there is nothing to do.

/// From bfloat16 to floats; exact.
void widen(Parameter& parameter);
/// Back, to the nearest; exact for what widen() made.
void narrow(Parameter& parameter);
/// The values of a parameter as floats: where they are, or a widened copy. The parameter outlives it, and
/// stays as it is.
class ParameterValues {
 public:
  explicit ParameterValues(const Parameter& parameter);
  ParameterValues(const ParameterValues&) = delete;
  ParameterValues& operator=(const ParameterValues&) = delete;
  operator std::span<const float>() const { return all_; }
  auto begin() const { return all_.begin(); }
  auto end() const { return all_.end(); }

 private:
  AlignedVector<float> wide_;
  std::span<const float> all_;
};
inline ParameterValues values_of(const Parameter& parameter) { return ParameterValues(parameter); }
/// Gives a parameter, in the form it has, as many values as it has.
void set_values(Parameter& parameter, AlignedVector<float> values);
/// An array of zeros for its momentum, in the same form, if it has none; an existing one stays.
void keep_momentum(Parameter& parameter);

}  // namespace tulle
