#include "tulle/nn/bf16_weights.h"

#include <utility>

#include "tulle/base/check.h"
#include "tulle/base/parallel.h"
#include "tulle/kernels/narrow.h"
#include "tulle/kernels/rounding.h"

namespace tulle {
namespace {

constexpr std::int64_t kWeightGrain = 1 << 14;

AlignedVector<float> widened(std::span<const std::uint16_t> bits) {
  AlignedVector<float> numbers(bits.size());
  parallel_ranges(std::ssize(bits), kWeightGrain, [&](Range range) {
    kernels::widen(bits.data() + range.begin, range.end - range.begin, numbers.data() + range.begin);
  });
  return numbers;
}

AlignedVector<std::uint16_t> narrowed(std::span<const float> numbers) {
  AlignedVector<std::uint16_t> bits(numbers.size());
  parallel_ranges(std::ssize(numbers), kWeightGrain, [&](Range range) {
    kernels::narrow_in_order(numbers.data() + range.begin, range.end - range.begin,
                             bits.data() + range.begin);
  });
  return bits;
}

}  // namespace

void widen(Parameter& parameter) {
  if (!parameter.is_bf16()) return;
  parameter.value = widened(parameter.bf16_value);
  parameter.bf16_value = AlignedVector<std::uint16_t>();
  parameter.m1 = widened(parameter.bf16_m1);
  parameter.bf16_m1 = AlignedVector<std::uint16_t>();
}

void narrow(Parameter& parameter) {
  if (parameter.value.empty()) return;
  parameter.bf16_value = narrowed(parameter.value);
  parameter.value = AlignedVector<float>();
  parameter.bf16_m1 = narrowed(parameter.m1);
  parameter.m1 = AlignedVector<float>();
}

ParameterValues::ParameterValues(const Parameter& parameter)
    : wide_(widened(parameter.bf16_value)), all_(parameter.is_bf16() ? wide_ : parameter.value) {}

void set_values(Parameter& parameter, AlignedVector<float> values) {
  require(values.size() == parameter.size(), "set_values: one value for each entry is needed");
  if (parameter.is_bf16())
    parameter.bf16_value = narrowed(values);
  else
    parameter.value = std::move(values);
}

void keep_momentum(Parameter& parameter) {
  if (parameter.is_bf16())
    parameter.bf16_m1.resize(parameter.size(), 0);
  else
    parameter.m1.resize(parameter.size(), 0.0f);
}

}  // namespace tulle
