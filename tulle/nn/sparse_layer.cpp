#include "tulle/nn/sparse_layer.h"

#include <utility>

#include "tulle/base/check.h"
#include "tulle/nn/compact_linear.h"
#include "tulle/nn/sparse_linear.h"

namespace tulle {
namespace {

template <class T>
void carry(const TopologyUpdate& update, AlignedVector<T>& values, T initial) {
  if (values.empty()) return;
  values = carry_over<T>(update, values, initial);
}

}  // namespace

SparseLayer::SparseLayer(const LayerOptions& options, Topology topology, bool keeps_gradients)
    : Layer(options, static_cast<std::size_t>(topology.nnz()), keeps_gradients),
      topology_(std::move(topology)),
      keeps_gradients_(keeps_gradients) {
  require(topology_.rows() == outputs() && topology_.cols() == inputs(),
          "SparseLayer: the topology must be outputs x inputs");
}

void SparseLayer::set_weight_step(WeightStep step) {
  step_ = std::move(step);
  const bool kept = !step_ && keeps_gradients_;
  if (weight_.gradient.empty() == kept)
    weight_.gradient = AlignedVector<float>(kept ? weight_.value.size() : 0);
}

void SparseLayer::take_step(std::int64_t begin, std::span<const float> gradients) {
  ParameterSlice slice = slice_of(weight_, begin, std::ssize(gradients));
  slice.gradient = gradients.data();
  step_(slice);
}

void SparseLayer::replace(TopologyUpdate update, std::span<const float> grown_values) {
  require(update.topology.rows() == outputs() && update.topology.cols() == inputs(),
          "SparseLayer: the new topology must be outputs x inputs");
  require(std::cmp_equal(grown_values.size(), update.grown()),
          "SparseLayer: one start value per grown connection");
  require(!weight_.is_bf16(), "SparseLayer: weights in bfloat16 are widened before the topology changes");
  forget_index();
  topology_ = std::move(update.topology);  // the old one makes room
  for (AlignedVector<float>* values : {&weight_.value, &weight_.average}) {
    if (values->empty()) continue;
    carry(update, *values, 0.0f);
    start_grown(update, grown_values, *values);
  }
  carry(update, weight_.gradient, 0.0f);
  carry(update, weight_.m1, 0.0f);
  carry(update, weight_.m2, 0.0f);
  carry(update, weight_.outer, 0.0f);
  carry(update, weight_.age, std::uint16_t{0});
  index();
}

void SparseLayer::rewrite_columns(const std::function<void(std::span<std::int32_t>)>& rewrite) {
  forget_index();
  topology_.rewrite_columns(rewrite);
  index();
}

std::unique_ptr<SparseLayer> make_sparse_layer(const LayerOptions& options, Topology topology) {
  if (options.storage == Storage::kCompact)
    return std::make_unique<CompactLinear>(options, std::move(topology));
  return std::make_unique<SparseLinear>(options, std::move(topology));
}

}  // namespace tulle
