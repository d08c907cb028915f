#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "tulle/base/parallel.h"
#include "tulle/nn/parameter.h"

namespace tulle {

struct OptimizerOptions {
  double momentum = 0.9;  // set-sgd, sgd, sgdw
  bool nesterov = false;  // set-sgd, sgd, sgdw
  double weight_decay = 0.0;
  double beta1 = 0.9, beta2 = 0.999, adam_epsilon = 1e-8;  // adam, adamw
};

/// Turns gradients into steps, on arrays of parameters; it never sees a topology. Its state (Parameter::m1,
/// m2, age) lives beside each parameter and moves with its connection when the topology changes.
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  /// Sizes the state arrays this optimizer uses; new entries are 0, existing ones stay.
  virtual void prepare(Parameter& parameter) const = 0;
  /// One step of size `rate` from parameter.gradient (the mean over the batch). Cost: O(size), in parallel,
  /// the same bits for any thread count.
  void step(Parameter& parameter, float rate) const;
  /// The same for some of its entries.
  void step(Parameter& parameter, Range entries, float rate) const;
  /// The same for some entries, each for itself: how they are cut into slices changes no bit.
  virtual void step(const ParameterSlice& slice, float rate) const = 0;
  /// What momentum alone, without a new gradient, would add to each value at the next step of size `rate`;
  /// one entry of `added` per value. For rules that look ahead.
  virtual void pending(const Parameter& parameter, float rate, std::span<float> added) const = 0;
};

using MakeOptimizer = std::unique_ptr<Optimizer>(const OptimizerOptions&);

/// Entries of a parameter that are worth a thread.
inline constexpr std::int64_t kGrain = 4096;

struct OptimizerInfo {
  std::string_view name;
  std::string_view help;
  std::string_view source;
  MakeOptimizer* make;
};

std::span<const OptimizerInfo> optimizers();

}  // namespace tulle
