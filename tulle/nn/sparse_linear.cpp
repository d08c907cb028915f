#include "tulle/nn/sparse_linear.h"

#include "tulle/base/check.h"
#include "tulle/base/parallel.h"
#include "tulle/kernels/spmm.h"

namespace tulle {
namespace {

template <class T>
void carry(const TopologyUpdate& update, AlignedVector<T>& values, T initial) {
  if (values.empty()) return;
  const std::vector<T> moved = carry_over<T>(update, values, initial);
  values.assign(moved.begin(), moved.end());
}

}  // namespace

SparseLinear::SparseLinear(const LayerOptions& options, Topology topology)
    : Layer(options, static_cast<std::size_t>(topology.nnz())), topology_(std::move(topology)) {
  require(topology_.rows() == outputs() && topology_.cols() == inputs(),
          "SparseLinear: the topology must be outputs x inputs");
  index();
}

void SparseLinear::index() {
  by_source_ = make_source_index(topology_);
  shared_among_ = 0;
}

void SparseLinear::share_out() {
  if (shared_among_ == thread_count()) return;
  shared_among_ = thread_count();
  target_ranges_ = balanced_rows(topology_.row_ptr(), shared_among_);
  source_ranges_ = balanced_rows(by_source_.source_ptr, shared_among_);
}

void SparseLinear::replace(const TopologyUpdate& update, std::span<const float> grown_values) {
  require(update.topology.rows() == outputs() && update.topology.cols() == inputs(),
          "SparseLinear: the new topology must be outputs x inputs");
  require(grown_values.size() == update.source.size(), "SparseLinear: one start value per connection");
  carry(update, weight_.value, 0.0f);
  for (std::size_t k = 0; k < update.source.size(); ++k)
    if (update.source[k] == TopologyUpdate::kGrown) weight_.value[k] = grown_values[k];
  carry(update, weight_.gradient, 0.0f);
  carry(update, weight_.m1, 0.0f);
  carry(update, weight_.m2, 0.0f);
  carry(update, weight_.age, std::uint16_t{0});
  topology_ = update.topology;
  index();
}

void SparseLinear::multiply(Panels<const float> x, Panels<float> y, const kernels::Epilogue& epilogue) {
  share_out();
  const kernels::CsrView w{topology_.row_ptr().data(), topology_.columns().data(), weight_.value.data()};
  parallel_parts(shared_among_, [&](int part) {
    const auto t = static_cast<std::size_t>(part);
    for (std::int32_t p = 0; p < x.count(); ++p)
      kernels::spmm_forward(w, {target_ranges_[t], target_ranges_[t + 1]}, x.width, x.panel(p), y.panel(p),
                            of_panel(epilogue, p, outputs(), x.width));
  });
}

void SparseLinear::multiply_back(Panels<const float> x, Panels<const float> dz, Panels<float> dx,
                                 const kernels::Gate& gate) {
  share_out();
  const kernels::SourceView w{by_source_.source_ptr.data(), by_source_.targets.data(),
                              by_source_.positions.data(), weight_.value.data()};
  parallel_parts(shared_among_, [&](int part) {
    const auto t = static_cast<std::size_t>(part);
    for (std::int32_t p = 0; p < x.count(); ++p)
      kernels::spmm_backward(w, {source_ranges_[t], source_ranges_[t + 1]}, x.width, x.panel(p), dz.panel(p),
                             dx ? dx.panel(p) : nullptr, of_panel(gate, p, inputs(), x.width), p > 0,
                             weight_.gradient.data());
  });
}

}  // namespace tulle
