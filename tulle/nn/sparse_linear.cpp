#include "tulle/nn/sparse_linear.h"

#include <algorithm>

#include "tulle/base/check.h"
#include "tulle/base/parallel.h"
#include "tulle/kernels/sparse_input.h"
#include "tulle/kernels/spmm.h"

namespace tulle {
namespace {

// The panels rounded to bfloat16, in memory that grows to fit.
const kernels::Bf16Pair* narrowed(Panels<const float> panels, AlignedVector<kernels::Bf16Pair>& memory) {
  constexpr int kPair = 32;  // values that make a line of pairs
  require(panels.width >= kPair, "SparseLinear: bf16 needs panels of at least 32 samples");
  const std::int64_t values = panels.count() * panels.panel_size();
  if (static_cast<std::int64_t>(memory.size()) < values / 2)
    memory.resize(static_cast<std::size_t>(values / 2));
  parallel_ranges(values, 4096, [&](Range part) {
    kernels::narrow(panels.data + part.begin, part.end - part.begin, memory.data() + part.begin / 2);
  });
  return memory.data();
}

}  // namespace

SparseLinear::SparseLinear(const LayerOptions& options, Topology topology)
    : SparseLayer(options, std::move(topology), /*keeps_gradients=*/true) {
  require(!options.bf16_weights, "SparseLinear: weights in bfloat16 are for CompactLinear");
  SparseLinear::index();
}

void SparseLinear::forget_index() {
  by_target_ = {};
  by_source_.reset();
}

void SparseLinear::index() {
  by_target_ = make_row_tiles(topology_, tile_width(inputs(), topology_.density()));
  shared_among_ = 0;
}

// A first layer that takes panels may never need it.
void SparseLinear::index_sources() {
  if (by_source_) return;
  by_source_ = make_source_index(topology_, tile_width(outputs(), topology_.density()));
  source_ranges_.clear();
}

void SparseLinear::share_out() {
  if (shared_among_ == thread_count()) return;
  shared_among_ = thread_count();
  target_ranges_ = balanced_rows(topology_.row_ptr(), shared_among_);
  source_ranges_.clear();
  blocks_.resize(static_cast<std::size_t>(shared_among_));
}

void SparseLinear::share_out_sources() {
  share_out();
  index_sources();
  if (!source_ranges_.empty()) return;
  std::vector<std::int64_t> ends(static_cast<std::size_t>(inputs()) + 1, 0);
  for (std::size_t t = 0; t < static_cast<std::size_t>(by_source_->tiles); ++t) {
    const std::int64_t* const ptr = by_source_->source_ptr.data() + t * (ends.size() - 1);
    for (std::size_t s = 0; s < ends.size(); ++s) ends[s] += ptr[s] - ptr[0];
  }
  source_ranges_ = balanced_rows(ends, shared_among_);
}

// One place for each connection: gradients by source, or by target on their way to the optimizer.
float* SparseLinear::scratch(bool zeroed) {
  const std::size_t size = weight_.value.size();
  if (scratch_->size() < size) scratch_->resize(size);
  if (zeroed) std::fill_n(scratch_->data(), size, 0.0f);
  return scratch_->data();
}

// Targets of connections by source, counted from their tile's first.
const std::int32_t* SparseLinear::targets_of(Range connections, Block& block) const {
  if (!by_source_->far_targets.empty()) return by_source_->far_targets.data() + connections.begin;
  const auto count = static_cast<std::size_t>(connections.end - connections.begin);
  if (block.targets.size() < count) block.targets.resize(count);
  std::copy_n(by_source_->near_targets.data() + connections.begin, count, block.targets.data());
  return block.targets.data();
}

// `stride`: elements of one feature of one panel; floats have one a sample, pairs of bfloat16 half as many.
template <class Element>
void SparseLinear::forward_rows(const Element* x, int stride, Panels<float> y,
                                const kernels::Epilogue& epilogue) {
  share_out();
  const std::int32_t tiles = by_target_.tiles;
  constexpr std::int64_t kNear = std::int64_t{4} << 20;  // bytes of x that caches may keep
  const bool far = std::int64_t{inputs()} * stride * static_cast<std::int64_t>(sizeof(Element)) > kNear;
  parallel_parts(shared_among_, [&](int part) {
    const auto i = static_cast<std::size_t>(part);
    const Range rows{target_ranges_[i], target_ranges_[i + 1]};
    for (std::int32_t p = 0; p < y.count(); ++p)
      for (std::int32_t t = 0; t < tiles; ++t) {
        const kernels::Tile tile{.first = t == 0, .last = t + 1 == tiles, .far = tiles == 1 && far};
        const std::int64_t* const row_ptr = topology_.row_ptr().wide().data();
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

// The backward pass reads weights and makes gradients by source while they are kept by target. Each block of
// sources is gathered once for all panels, so that the products run over arrays without gaps; a block is
// large enough to be worth the change of tiles between panels and small enough for L2. The gradients are
// brought into the order of targets at the end: threads that own sources would otherwise write to the same
// cache lines all the time.
template <class Element>
void SparseLinear::back_by_source(Range sources, const Element* x, const Element* dz, int stride,
                                  Panels<const float> shape, Panels<float> dx, const kernels::Gate& gate,
                                  Block& block) {
  constexpr std::int64_t kConnections = 8192;
  for (std::int32_t t = 0; t < by_source_->tiles; ++t) {
    const std::int64_t* const begin = by_source_->source_ptr.data() + std::int64_t{t} * inputs();
    const std::int64_t first_target = std::int64_t{t} * by_source_->width;
    const kernels::Tile tile{.first = t == 0, .last = t + 1 == by_source_->tiles};
    for (Range part{sources.begin, sources.begin}; part.begin < sources.end; part.begin = part.end) {
      while (part.end < sources.end &&
             (part.end == part.begin || begin[part.end + 1] - begin[part.begin] <= kConnections))
        ++part.end;
      const auto count = static_cast<std::size_t>(begin[part.end] - begin[part.begin]);
      const std::uint32_t* const positions = by_source_->positions.data() + begin[part.begin];
      const std::int32_t* const targets = targets_of({begin[part.begin], begin[part.end]}, block);
      if (dx && block.weights.size() < count) block.weights.resize(count);
      if (dx)
        for (std::size_t k = 0; k < count; ++k) block.weights[k] = weight_.value[positions[k]];
      for (std::int64_t p = 0; p < shape.count(); ++p)
        kernels::spmm_backward({begin, targets, block.weights.data()}, part, shape.width,
                               x + p * inputs() * stride, dz + (p * outputs() + first_target) * stride,
                               dx ? dx.panel(static_cast<std::int32_t>(p)) : nullptr,
                               of_panel(gate, p, inputs(), shape.width), p > 0,
                               scratch_->data() + begin[part.begin], tile);
    }
  }
}

template <class Element>
void SparseLinear::back(const Element* x, const Element* dz, int stride, Panels<const float> errors,
                        Panels<float> dx, const kernels::Gate& gate) {
  share_out();
  if (!dx && by_target_.tiles == 1) {
    // A gradient of weights alone is the same sum seen from either side: by target it comes out in its place.
    float* const gradients = step_ ? scratch() : weight_.gradient.data();
    parallel_parts(shared_among_, [&](int part) {
      const Range rows = rows_of(static_cast<std::size_t>(part));
      const std::int64_t* const ptr = topology_.row_ptr().wide().data();
      const std::int64_t begin = ptr[rows.begin], end = ptr[rows.end];
      for (std::int64_t p = 0; p < errors.count(); ++p)
        kernels::spmm_backward({ptr, topology_.columns().data() + begin, nullptr}, rows, errors.width,
                               dz + p * outputs() * stride, x + p * inputs() * stride, nullptr, {}, p > 0,
                               gradients + begin);
      if (step_) take_step(begin, {gradients + begin, gradients + end});
      sum_bias_gradients(rows, errors);
    });
    return;
  }
  share_out_sources();
  scratch();
  parallel_parts(shared_among_, [&](int part) {
    const auto i = static_cast<std::size_t>(part);
    back_by_source({source_ranges_[i], source_ranges_[i + 1]}, x, dz, stride, errors, dx, gate, blocks_[i]);
  });
  bring_gradients_home(errors);
}

// Gradients from the order of sources into that of targets, by the threads that own the targets: to the
// optimizer a piece at a time, or to where they are kept; and bias gradients.
void SparseLinear::bring_gradients_home(Panels<const float> errors) {
  parallel_parts(shared_among_, [&](int part) {
    const Range rows = rows_of(static_cast<std::size_t>(part));
    const float* const by_source = scratch_->data();
    const std::uint32_t* const slots = by_source_->slots.data();
    const std::int64_t* const ptr = topology_.row_ptr().wide().data();
    const std::int64_t end = ptr[rows.end];
    constexpr std::int64_t kPiece = 1024;
    alignas(64) float piece[kPiece];
    for (std::int64_t k = ptr[rows.begin]; k < end; k += kPiece) {
      const std::int64_t count = std::min(kPiece, end - k);
      float* const to = step_ ? piece : weight_.gradient.data() + k;
      for (std::int64_t j = 0; j < count; ++j) to[j] = by_source[slots[k + j]];
      if (step_) take_step(k, {piece, static_cast<std::size_t>(count)});
    }
    sum_bias_gradients(rows, errors);
  });
}

// Weights of the sources that occur are gathered once for all samples. A line of 16 samples is one thread's
// from the sums to the outputs, so that bits do not depend on the number of threads.
void SparseLinear::multiply(const SparseBatch& x, Panels<float> y, const kernels::Epilogue& epilogue) {
  constexpr std::int32_t kLine = 16;
  index_sources();
  const auto active = static_cast<std::int64_t>(x.active.size());
  active_begin_.assign(1, 0);
  for (const std::int32_t source : x.active) {
    std::int64_t count = 0;
    for (std::int32_t t = 0; t < by_source_->tiles; ++t) {
      const std::int64_t* const begin = by_source_->source_ptr.data() + std::int64_t{t} * inputs() + source;
      count += begin[1] - begin[0];
    }
    active_begin_.push_back(active_begin_.back() + count);
  }
  active_targets_.resize(static_cast<std::size_t>(active_begin_.back()));
  active_weights_.resize(static_cast<std::size_t>(active_begin_.back()));
  parallel_ranges(active, 64, [&](Range range) {
    for (std::int64_t i = range.begin; i < range.end; ++i) {
      auto out = static_cast<std::size_t>(active_begin_[static_cast<std::size_t>(i)]);
      for (std::int32_t t = 0; t < by_source_->tiles; ++t) {
        const std::int64_t* const begin = by_source_->source_ptr.data() + std::int64_t{t} * inputs() +
                                          x.active[static_cast<std::size_t>(i)];
        for (auto k = static_cast<std::size_t>(begin[0]); k < static_cast<std::size_t>(begin[1]);
             ++k, ++out) {
          active_targets_[out] = by_source_->target(k) + t * by_source_->width;
          active_weights_[out] = weight_.value[by_source_->positions[k]];
        }
      }
    }
  });
  const kernels::ActiveConnections connections{active_begin_.data(), active_targets_.data(),
                                               active_weights_.data()};
  const std::int32_t lines = y.count() * (y.width / kLine);
  lines_.resize(static_cast<std::size_t>(std::max(thread_count(), 1)));
  const auto parts = std::min(thread_count(), static_cast<int>(lines));
  parallel_parts(parts, [&](int part) {
    std::vector<float>& line = lines_[static_cast<std::size_t>(part)];
    line.resize(static_cast<std::size_t>(outputs()) * kLine);
    const Range range = even_range(lines, parts, part);
    for (auto l = static_cast<std::int32_t>(range.begin); l < range.end; ++l) {
      const std::int32_t first = l * kLine, count = std::clamp(x.batch - first, 0, kLine);
      kernels::sparse_input_forward(connections, {x.sample_ptr.data(), x.places.data(), x.values.data()},
                                    first, count, outputs(), line.data());
      float* out = y.panel(first / y.width) + first % y.width;
      for (std::int32_t target = 0; target < outputs(); ++target, out += y.width)
        std::copy_n(line.data() + std::int64_t{target} * kLine, kLine, out);
    }
  });
  parallel_ranges(outputs(), 16, [&](Range rows) {
    for (std::int32_t p = 0; p < y.count(); ++p)
      kernels::apply_epilogue(rows, y.width, y.panel(p), of_panel(epilogue, p, outputs(), y.width));
  });
}

void SparseLinear::backward(const SparseBatch& x, Panels<const float> dz) {
  share_out();
  index_sources();
  float* const gradients = scratch(/*zeroed=*/true);
  parallel_ranges(static_cast<std::int64_t>(x.active.size()), 16, [&](Range range) {
    Block block;
    for (std::int64_t i = range.begin; i < range.end; ++i)
      for (std::int32_t t = 0; t < by_source_->tiles; ++t) {
        const std::int64_t* const begin = by_source_->source_ptr.data() + std::int64_t{t} * inputs() +
                                          x.active[static_cast<std::size_t>(i)];
        kernels::sparse_input_gradients(begin[1] - begin[0], targets_of({begin[0], begin[1]}, block),
                                        {x.active_ptr.data(), x.samples.data(), x.sample_values.data()}, i,
                                        dz.data + std::int64_t{t} * by_source_->width * dz.width,
                                        dz.panel_size(), dz.width, gradients + begin[0]);
      }
  });
  bring_gradients_home(dz);
}

void SparseLinear::multiply_back(Panels<const float> x, Panels<const float> dz, Panels<float> dx,
                                 const kernels::Gate& gate) {
  if (options().precision == Precision::kFloat) return back(x.data, dz.data, x.width, dz, dx, gate);
  const kernels::Bf16Pair* const errors = narrowed(dz, dz_pairs_);
  back<kernels::Bf16Pair>(x_pairs_.data(), errors, x.width / 2, dz, dx, gate);
}

}  // namespace tulle
