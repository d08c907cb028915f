#include "tulle/recover/sparse_weights.h"

#include <algorithm>
#include <utility>

#include "tulle/base/check.h"

namespace tulle {

SparseWeights::SparseWeights(std::int64_t neurons, std::int32_t features, std::vector<std::int64_t> places,
                             std::vector<double> values)
    : neurons_(neurons), features_(features), places_(std::move(places)), values_(std::move(values)) {
  require(places_.size() == values_.size(), "sparse weights: one value for each place");
  feature_.resize(places_.size());
  std::int64_t before = -1;
  for (std::size_t k = 0; k < places_.size(); ++k) {
    require(places_[k] > before && places_[k] < neurons * features, "sparse weights: places must increase");
    before = places_[k];
    const std::int64_t neuron = before / features;
    feature_[k] = static_cast<std::int32_t>(before % features);
    const auto at = static_cast<std::int64_t>(k);
    if (blocks_.empty() || blocks_.back().neuron != neuron) blocks_.push_back({neuron, at, at, 1});
    blocks_.back().end = at + 1;
  }
}

const SparseWeights::Block* SparseWeights::find(std::int64_t neuron) const {
  const auto found = std::lower_bound(blocks_.begin(), blocks_.end(), neuron,
                                      [](const Block& block, std::int64_t j) { return block.neuron < j; });
  return found != blocks_.end() && found->neuron == neuron ? &*found : nullptr;
}

SparseWeights SparseWeights::without_zeros() const {
  std::vector<std::int64_t> places;
  std::vector<double> values;
  for (std::size_t k = 0; k < places_.size(); ++k) {
    if (values_[k] == 0.0) continue;
    places.push_back(places_[k]);
    values.push_back(values_[k]);
  }
  SparseWeights kept(neurons_, features_, std::move(places), std::move(values));
  for (Block& block : kept.blocks_) block.sign = find(block.neuron)->sign;
  return kept;
}

}  // namespace tulle
