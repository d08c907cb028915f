#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tulle {

/// The fused hidden weights of a ReLU net with one output (gated_design.h), or gate
/// vectors, which look the same: `neurons` blocks of `features` numbers each, of which only the nonzeros are
/// stored, sorted by their place neuron * features + feature. Neurons without a nonzero are absent. Memory:
/// 20 bytes a nonzero, 24 a present neuron.
class SparseWeights {
 public:
  struct Block {
    std::int64_t neuron = 0;
    std::int64_t begin = 0, end = 0;  // its nonzeros
    std::int32_t sign = 1;            // of the neuron's output: +1 or -1
  };

  SparseWeights() = default;
  SparseWeights(std::int64_t neurons, std::int32_t features) : neurons_(neurons), features_(features) {}
  /// `places` strictly increasing. Signs are +1. Cost: O(nonzeros).
  SparseWeights(std::int64_t neurons, std::int32_t features, std::vector<std::int64_t> places,
                std::vector<double> values);

  std::int64_t neurons() const { return neurons_; }
  std::int32_t features() const { return features_; }
  std::int64_t nonzeros() const { return static_cast<std::int64_t>(places_.size()); }
  std::span<const std::int64_t> places() const { return places_; }
  std::span<const std::int32_t> feature() const { return feature_; }
  std::span<double> values() { return values_; }
  std::span<const double> values() const { return values_; }
  std::span<Block> blocks() { return blocks_; }
  std::span<const Block> blocks() const { return blocks_; }

  /// The block of a neuron, null if it has no nonzero. Cost: O(log blocks).
  const Block* find(std::int64_t neuron) const;

  /// Without the entries whose value is 0. Signs stay.
  SparseWeights without_zeros() const;

 private:
  std::int64_t neurons_ = 0;
  std::int32_t features_ = 0;
  std::vector<std::int64_t> places_;
  std::vector<std::int32_t> feature_;
  std::vector<double> values_;
  std::vector<Block> blocks_;
};

}  // namespace tulle
