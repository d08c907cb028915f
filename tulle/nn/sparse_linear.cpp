#include "tulle/nn/sparse_linear.h"

#include "tulle/base/check.h"
#include "tulle/base/parallel.h"
#include "tulle/kernels/spmm.h"

namespace tulle {
namespace {

template <class T>
void carry(const TopologyUpdate& update, AlignedVector<T>& values, T initial) {
  if (values.empty()) return;
  values = carry_over<T>(update, values, initial);
}

// The panels rounded to bfloat16, in memory that grows to fit.
const kernels::Bf16Pair* narrowed(Panels<const float> panels, AlignedVector<kernels::Bf16Pair>& memory) {
  constexpr int kPair = 32;  // values that make a line of pairs
  require(panels.width >= kPair, "SparseLinear: bf16 needs panels of at least 32 samples");
  const std::int64_t values = panels.count() * panels.panel_size();
  if (static_cast<std::int64_t>(memory.size()) < values / 2) memory.resize(static_cast<std::size_t>(values / 2));
  parallel_ranges(values, 4096, [&](Range part) {
    kernels::narrow(panels.data + part.begin, part.end - part.begin, memory.data() + part.begin / 2);
  });
  return memory.data();
}

}  // namespace

SparseLinear::SparseLinear(const LayerOptions& options, Topology topology)
    : Layer(options, static_cast<std::size_t>(topology.nnz())), topology_(std::move(topology)) {
  require(topology_.rows() == outputs() && topology_.cols() == inputs(),
          "SparseLinear: the topology must be outputs x inputs");
  index();
}

void SparseLinear::index() {
  by_target_ = make_row_tiles(topology_, tile_width(inputs(), topology_.density()));
  by_source_ = make_source_index(topology_, tile_width(outputs(), topology_.density()));
  shared_among_ = 0;
}

void SparseLinear::share_out() {
  if (shared_among_ == thread_count()) return;
  shared_among_ = thread_count();
  target_ranges_ = balanced_rows(topology_.row_ptr(), shared_among_);
  std::vector<std::int64_t> ends(static_cast<std::size_t>(inputs()) + 1, 0);
  for (std::size_t t = 0; t < static_cast<std::size_t>(by_source_.tiles); ++t) {
    const std::int64_t* const ptr = by_source_.source_ptr.data() + t * (ends.size() - 1);
    for (std::size_t s = 0; s < ends.size(); ++s) ends[s] += ptr[s] - ptr[0];
  }
  source_ranges_ = balanced_rows(ends, shared_among_);
  blocks_.resize(static_cast<std::size_t>(shared_among_));
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

// `stride`: elements of one feature of one panel; floats have one a sample, pairs of bfloat16 half as many.
template <class Element>
void SparseLinear::forward_rows(const Element* x, int stride, Panels<float> y, const kernels::Epilogue& epilogue) {
  share_out();
  const std::int32_t tiles = by_target_.tiles;
  parallel_parts(shared_among_, [&](int part) {
    const auto i = static_cast<std::size_t>(part);
    const Range rows{target_ranges_[i], target_ranges_[i + 1]};
    for (std::int32_t p = 0; p < y.count(); ++p)
      for (std::int32_t t = 0; t < tiles; ++t) {
        const kernels::Tile tile{.first = t == 0, .last = t + 1 == tiles};
        const std::int64_t* const row_ptr = topology_.row_ptr().data();
        const std::int64_t* const cuts = by_target_.cuts.data() + std::int64_t{t} * outputs();
        kernels::spmm_forward({tile.first ? row_ptr : cuts - outputs(), tile.last ? row_ptr + 1 : cuts,
                               topology_.columns().data(), weight_.value.data()},
                              rows, y.width, x + std::int64_t{p} * inputs() * stride, y.panel(p),
                              of_panel(epilogue, p, outputs(), y.width), tile);
      }
  });
}

void SparseLinear::multiply(Panels<const float> x, Panels<float> y, const kernels::Epilogue& epilogue) {
  if (options().precision == Precision::kFloat) return forward_rows(x.data, x.width, y, epilogue);
  forward_rows(narrowed(x, x_pairs_), x.width / 2, y, epilogue);
}

// The backward pass reads and writes weights by source while they are kept by target. Each block of sources
// is gathered once for all panels and its gradients scattered once, which costs a few cycles per connection;
// the products then run over arrays without gaps. A block is large enough to be worth the change of tiles
// between panels and small enough for L2.
template <class Element>
void SparseLinear::back(Range sources, const Element* x, const Element* dz, int stride, Panels<const float> shape,
                        Panels<float> dx, const kernels::Gate& gate, Block& block) {
  constexpr std::int64_t kConnections = 8192;
  for (std::int32_t t = 0; t < by_source_.tiles; ++t) {
    const std::int64_t* const begin = by_source_.source_ptr.data() + std::int64_t{t} * inputs();
    const std::int64_t first_target = std::int64_t{t} * by_source_.width;
    const kernels::Tile tile{.first = t == 0, .last = t + 1 == by_source_.tiles};
    for (Range part{sources.begin, sources.begin}; part.begin < sources.end; part.begin = part.end) {
      while (part.end < sources.end &&
             (part.end == part.begin || begin[part.end + 1] - begin[part.begin] <= kConnections))
        ++part.end;
      const auto count = static_cast<std::size_t>(begin[part.end] - begin[part.begin]);
      const std::uint32_t* const positions = by_source_.positions.data() + begin[part.begin];
      if (block.values.size() < count) {
        block.values.resize(count);
        block.gradients.resize(count);
      }
      if (dx)
        for (std::size_t k = 0; k < count; ++k) block.values[k] = weight_.value[positions[k]];
      for (std::int64_t p = 0; p < shape.count(); ++p)
        kernels::spmm_backward({begin, by_source_.targets.data(), block.values.data()}, part, shape.width,
                               x + p * inputs() * stride, dz + (p * outputs() + first_target) * stride,
                               dx ? dx.panel(static_cast<std::int32_t>(p)) : nullptr,
                               of_panel(gate, p, inputs(), shape.width), p > 0, block.gradients.data(), tile);
      for (std::size_t k = 0; k < count; ++k) weight_.gradient[positions[k]] = block.gradients[k];
    }
  }
}

template <class Element>
void SparseLinear::back_shared(const Element* x, const Element* dz, int stride, Panels<const float> shape,
                               Panels<float> dx, const kernels::Gate& gate) {
  share_out();
  parallel_parts(shared_among_, [&](int part) {
    const auto i = static_cast<std::size_t>(part);
    back({source_ranges_[i], source_ranges_[i + 1]}, x, dz, stride, shape, dx, gate, blocks_[i]);
  });
}

void SparseLinear::multiply_back(Panels<const float> x, Panels<const float> dz, Panels<float> dx,
                                 const kernels::Gate& gate) {
  if (options().precision == Precision::kFloat) return back_shared(x.data, dz.data, x.width, x, dx, gate);
  const kernels::Bf16Pair* const errors = narrowed(dz, dz_pairs_);
  back_shared<kernels::Bf16Pair>(x_pairs_.data(), errors, x.width / 2, x, dx, gate);
}

}  // namespace tulle
