#include "tulle/nn/compact_linear.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <stdexcept>

#include "tulle/base/check.h"
#include "tulle/base/parallel.h"
#include "tulle/base/spill.h"
#include "tulle/kernels/fused.h"
#include "tulle/kernels/rounding.h"
#include "tulle/kernels/spmm.h"
#include "tulle/nn/bf16_weights.h"

namespace tulle {
namespace {

constexpr std::int64_t kLinks = 2048;           // of a block, at most
constexpr std::int64_t kRoom = kLinks + 16;     // vectors write beyond their last entry
constexpr std::int32_t kErrorFloats = 1 << 12;  // of a block's errors: their lines stay in L1

constexpr std::int64_t kUnpackedRows = 4096;  // whose pointers are unpacked at a time

// The epilogue, or the gate, of a panel's rows from `row` on.
kernels::Epilogue at_row(kernels::Epilogue epilogue, std::int64_t row, int width) {
  const std::int64_t words = row * kernels::bit_words(width);
  if (epilogue.bias != nullptr) epilogue.bias += row;
  if (epilogue.positive_bits != nullptr) epilogue.positive_bits += words;
  if (epilogue.keep_bits != nullptr) epilogue.keep_bits += words;
  if (epilogue.rounded != nullptr) epilogue.rounded += row * width;
  return epilogue;
}
kernels::Gate at_row(kernels::Gate gate, std::int64_t row, int width) {
  const std::int64_t words = row * kernels::bit_words(width);
  if (gate.positive_bits != nullptr) gate.positive_bits += words;
  if (gate.keep_bits != nullptr) gate.keep_bits += words;
  return gate;
}

std::span<const std::byte> bytes(const auto& array) { return std::as_bytes(std::span(array)); }

}  // namespace

// A few rows, or part of a long one, with the connections in them that come from the walk's sources.
struct CompactLinear::Block {
  std::int64_t begin = 0, end = 0;               // connections of all sources
  std::int32_t first = 0, last = 0, ended = 0;   // rows [first, last), of which those below `ended` end here
  std::int64_t count = 0;                        // own connections
  std::array<std::int32_t, kRoom> rows, places;  // of each: row from `first`, place from `begin`
  std::array<std::int32_t, kRoom + kernels::Links::kAhead> columns;

  // The own connections in an array of all: where they are if all are own, else in `copy`.
  template <class T, std::size_t kSize>
  T* gather(AlignedVector<T>& array, std::array<T, kSize>& copy) const {
    if (array.empty()) return nullptr;
    T* const from = array.data() + begin;
    if (whole()) return from;
    for (std::size_t k = 0; k < static_cast<std::size_t>(count); ++k) copy[k] = from[places[k]];
    return copy.data();
  }
  template <class T, std::size_t kSize>
  void scatter(const std::array<T, kSize>& copy, AlignedVector<T>& array) const {
    if (array.empty() || whole()) return;
    T* const to = array.data() + begin;
    for (std::size_t k = 0; k < static_cast<std::size_t>(count); ++k) to[places[k]] = copy[k];
  }
  bool whole() const { return count == end - begin; }
};

// One thread's way through all connections.
struct CompactLinear::Walk {
  Range sources, biases;  // what it owns: inputs, and outputs whose biases it steps
  std::int32_t rows_of_block = 0;
  bool alike = false;             // all blocks are whole rows, each as long: row_of stays
  std::int32_t row = 0, end = 0;  // where it stands, and ends
  std::int64_t at = 0;
  std::array<Block, 2> blocks;
  std::array<std::int32_t, kLinks + 1> row_of;  // of each connection of a block, also others'
  std::array<float, kLinks> value, gradient, m1, m2;
  std::array<std::uint16_t, kLinks> age, bf16_value, bf16_m1;
  struct Biases {  // of a block's rows, of panels of two samples or more
    static constexpr std::size_t kMost = kErrorFloats / 2;
    std::array<float, kMost> gradient, value, m1;  // value and m1: of those in bfloat16
    std::array<std::int32_t, kMost> rows, columns;
  } bias;
};

CompactLinear::CompactLinear(const LayerOptions& options, Topology topology)
    : SparseLayer(options, std::move(topology), /*keeps_gradients=*/false) {
  topology_.shrink_row_ptr();
  if (options.bf16_weights) {
    narrow(weight_);
    narrow(bias_);
  }
}

// What the walks back pay for the connections of each group of sources. One whose line was met, or is next to
// one met, in the row before costs less than one whose lines are anywhere; in a layer that is numbered by
// source most first connections are such, and most of them have low sources.
void CompactLinear::add_costs(std::int64_t group, std::span<std::int64_t> costs) const {
  constexpr std::int64_t kNear = 2, kFar = 5;  // measured: two threads then end together
  constexpr std::int32_t kNeighbours = 16;
  const RowPtr& row_ptr = topology_.row_ptr();
  const std::int32_t* const columns = topology_.columns().data();
  std::int64_t k = 0;
  std::int32_t before = 0;  // the first source of a row before
  for (std::int32_t row = 0; row < outputs(); ++row) {
    const std::int64_t first = k, end = row_ptr[static_cast<std::size_t>(row) + 1];
    for (; k < end; ++k)
      costs[static_cast<std::size_t>(columns[k] / group)] +=
          std::abs(columns[k] - before) <= kNeighbours ? kNear : kFar;
    if (first < end) before = columns[first];
  }
}

// Sources are counted in groups: exact ranges would need a counter each.
void CompactLinear::share_out() {
  if (shared_among_ == thread_count()) return;
  shared_among_ = thread_count();
  const RowPtr& row_ptr = topology_.row_ptr();
  const auto begin_of = [&](std::int64_t row) { return row_ptr[static_cast<std::size_t>(row)]; };
  const std::int64_t most = is_spilled(topology_.columns().data()) ? kWindow : topology_.nnz();
  windows_.clear();
  for (std::int64_t row = 0; row < outputs();) {
    // Whole rows, at least one.
    const std::int64_t end = row_ptr.first_after({row + 2, outputs() + 1}, begin_of(row) + most) - 1;
    windows_.push_back({begin_of(row), begin_of(end), balanced_rows(row_ptr, {row, end}, shared_among_)});
    row = end;
  }
  constexpr std::int64_t kGroups = 4096;
  const std::int64_t group = std::max<std::int64_t>((inputs() + kGroups - 1) / kGroups, 1);
  std::vector<std::int64_t> ends(static_cast<std::size_t>((inputs() + group - 1) / group) + 1, 0);
  if (shared_among_ > 1) add_costs(group, std::span(ends).subspan(1));
  for (std::size_t g = 1; g < ends.size(); ++g) ends[g] += ends[g - 1];
  source_ranges_ = balanced_rows(ends, shared_among_);
  for (std::int64_t& range : source_ranges_) range = std::min<std::int64_t>(range * group, inputs());
  release(bytes(topology_.columns()));
}

// body(window) for all of them in order. Meanwhile its part of each of the arrays, which have an entry for
// every connection or are empty, is in memory.
void CompactLinear::for_windows(std::initializer_list<std::span<const std::byte>> arrays,
                                const std::function<void(const Window&)>& body) const {
  const auto all = static_cast<std::size_t>(std::max<std::int64_t>(topology_.nnz(), 1));
  const auto with_window = [&](std::size_t i, void (*act)(std::span<const std::byte>)) {
    const auto first = static_cast<std::size_t>(windows_[i].first);
    const auto count = static_cast<std::size_t>(windows_[i].last) - first;
    for (const std::span<const std::byte> array : arrays) {
      const std::size_t entry = array.size() / all;
      act(array.subspan(first * entry, count * entry));
    }
  };
  const std::size_t count = windows_.size();
  for (std::size_t i = 0; i < std::min(kWindowsAhead, count); ++i) with_window(i, ask_for);
  for (std::size_t i = 0; i < count; ++i) {
    if (i + kWindowsAhead < count) with_window(i + kWindowsAhead, ask_for);
    body(windows_[i]);
    with_window(i, write_back);
    if (i >= kWindowsAhead) with_window(i - kWindowsAhead, release);
  }
  for (std::size_t i = count - std::min(kWindowsAhead, count); i < count; ++i) with_window(i, release);
}

template <class Element>
void CompactLinear::forward_rows(Panels<const Element> x, Panels<float> y,
                                 const kernels::Epilogue& epilogue) {
  share_out();
  for_windows({bytes(topology_.columns()), bytes(weight_.value), bytes(weight_.bf16_value)},
              [&](const Window& window) {
                parallel_parts(shared_among_, [&](int part) {
                  const auto i = static_cast<std::size_t>(part);
                  Range rows{window.targets[i], window.targets[i]};
                  for (; rows.begin < window.targets[i + 1]; rows.begin = rows.end) {
                    rows.end = std::min(rows.begin + kUnpackedRows, window.targets[i + 1]);
                    forward_some(rows, x, y, epilogue);
                  }
                });
              });
}

// At most kUnpackedRows of them.
template <class Element>
void CompactLinear::forward_some(Range rows, Panels<const Element> x, Panels<float> y,
                                 const kernels::Epilogue& epilogue) const {
  std::array<std::int64_t, kUnpackedRows + 1> begins;
  const std::int64_t count = rows.end - rows.begin;
  topology_.row_ptr().copy(static_cast<std::size_t>(rows.begin),
                           std::span(begins).first(static_cast<std::size_t>(count) + 1));
  std::array<float, kUnpackedRows> bias;
  if (bias_.is_bf16()) kernels::widen(bias_.bf16_value.data() + rows.begin, count, bias.data());
  const std::int64_t* const begin = begins.data();
  const std::int32_t* const columns = topology_.columns().data();
  for (std::int32_t p = 0; p < y.count(); ++p) {
    kernels::Epilogue of_rows = at_row(of_panel(epilogue, p, outputs(), y.width), rows.begin, y.width);
    if (bias_.is_bf16()) of_rows.bias = bias.data();
    float* const to = y ? y.panel(p) + rows.begin * y.width : nullptr;
    if (weight_.is_bf16())
      kernels::spmm_forward({begin, begin + 1, columns, weight_.bf16_value.data()}, {0, count}, y.width,
                            x.panel(p), to, of_rows);
    else
      kernels::spmm_forward({begin, begin + 1, columns, weight_.value.data()}, {0, count}, y.width,
                            x.panel(p), to, of_rows, {.far = true});
  }
}

template <class Element>
void CompactLinear::back(Panels<const Element> x, Panels<const float> dz, Panels<float> dx,
                         const kernels::Gate& gate) {
  if (!step_) throw std::logic_error("CompactLinear: the backward pass needs the optimizer's step");
  require(dz.width >= 16 || dz.count() == 1, "CompactLinear: a batch fits in one panel narrower than a line");
  share_out();
  if (dx)
    parallel_ranges(dx.count() * dx.panel_size(), 4096,
                    [&](Range range) { std::fill(dx.data + range.begin, dx.data + range.end, 0.0f); });
  for_windows({bytes(topology_.columns()), bytes(weight_.value), bytes(weight_.m1), bytes(weight_.m2),
               bytes(weight_.age), bytes(weight_.bf16_value), bytes(weight_.bf16_m1)},
              [&](const Window& window) {
                parallel_parts(shared_among_, [&](int part) { walk_back(window, part, x, dz, dx); });
              });
  if (!dx || gate.open()) return;
  parallel_ranges(inputs(), 1, [&](Range rows) {
    for (std::int32_t p = 0; p < dx.count(); ++p)
      kernels::apply_gate(rows, dx.width, dx.panel(p), of_panel(gate, p, inputs(), dx.width));
  });
}

// One thread's part of a window.
template <class Element>
void CompactLinear::walk_back(const Window& window, int part, Panels<const Element> x, Panels<const float> dz,
                              Panels<float> dx) {
  const auto i = static_cast<std::size_t>(part);
  const auto walk = std::make_unique<Walk>();
  walk->sources = {source_ranges_[i], source_ranges_[i + 1]};
  walk->biases = {window.targets[i], window.targets[i + 1]};
  walk->rows_of_block = kErrorFloats / dz.width;
  std::iota(walk->bias.rows.begin(), walk->bias.rows.end(), 0);
  walk->bias.columns.fill(-1);  // the draw of a bias is that of a source that no connection has
  walk->row = static_cast<std::int32_t>(window.targets.front());
  walk->end = static_cast<std::int32_t>(window.targets.back());
  walk->at = window.first;
  const RowPtr& row_ptr = topology_.row_ptr();
  const std::int64_t each = row_ptr.is_even() ? row_ptr[1] : 0;
  walk->alike = each > 0 && each <= kLinks;
  if (walk->alike) {
    walk->rows_of_block = std::min(walk->rows_of_block, static_cast<std::int32_t>(kLinks / each));
    for (std::int64_t k = 0; k < kLinks; ++k)
      walk->row_of[static_cast<std::size_t>(k)] = static_cast<std::int32_t>(k / each);
  }
  std::size_t now = 0;
  for (bool more = fill(*walk, walk->blocks[now]); more; now = 1 - now) {
    Block &block = walk->blocks[now], &next = walk->blocks[1 - now];
    more = fill(*walk, next);
    // What is asked for ahead of its use goes on with the next block; at the end it is no longer new.
    const std::int64_t known = more ? std::min<std::int64_t>(next.count, kernels::Links::kAhead) : 0;
    std::int32_t* const after = block.columns.data() + block.count;
    std::copy_n(next.columns.data(), known, after);
    std::fill(after + known, after + kernels::Links::kAhead, block.columns[0]);
    learn(*walk, block, x, dz, dx);
  }
}

// The next rows and the connections in them from the walk's sources; false if there are none any more.
bool CompactLinear::fill(Walk& walk, Block& block) const {
  block.count = 0;
  block.columns[0] = 0;
  if (walk.row == walk.end) return false;
  const RowPtr& row_ptr = topology_.row_ptr();
  const auto begin_of = [&](std::int64_t row) { return row_ptr[static_cast<std::size_t>(row)]; };
  block.first = walk.row;
  block.begin = walk.at;
  const std::int32_t most = std::min(walk.end, block.first + walk.rows_of_block);
  block.end = std::min(begin_of(most), block.begin + kLinks);
  // Rows that end within the block: all of them, but for long ones.
  block.ended = begin_of(most) <= block.end
                    ? most
                    : static_cast<std::int32_t>(
                          row_ptr.first_after({std::int64_t{block.first} + 1, most}, block.end) - 1);
  block.last = std::min(block.ended + (begin_of(block.ended) < block.end ? 1 : 0), walk.end);
  walk.row = block.ended;
  walk.at = block.end;
  // The row of a connection: how many rows have begun up to it.
  if (!walk.alike) {
    const auto count = static_cast<std::size_t>(block.end - block.begin);
    std::fill_n(walk.row_of.begin(), count, 0);
    for (std::int32_t row = block.first + 1; row < block.last; ++row)
      ++walk.row_of[static_cast<std::size_t>(begin_of(row) - block.begin)];
    for (std::size_t k = 1; k < count; ++k) walk.row_of[k] += walk.row_of[k - 1];
  }
  block.count =
      kernels::select_sources(topology_.columns().data() + block.begin, walk.row_of.data(),
                              block.end - block.begin, static_cast<std::int32_t>(walk.sources.begin),
                              static_cast<std::int32_t>(walk.sources.end - walk.sources.begin),
                              block.columns.data(), block.rows.data(), block.places.data());
  return true;
}

void CompactLinear::step_biases(Walk& walk, Range rows) {
  const std::int64_t count = rows.end - rows.begin;
  auto& own = walk.bias;
  ParameterSlice slice = slice_of(bias_, rows.begin, count);
  slice.gradient = own.gradient.data();
  if (!bias_.is_bf16()) return step_(slice);
  std::uint16_t* const value = bias_.bf16_value.data() + rows.begin;
  std::uint16_t* const m1 = bias_.bf16_m1.empty() ? nullptr : bias_.bf16_m1.data() + rows.begin;
  kernels::widen(value, count, slice.value = own.value.data());
  if (m1 != nullptr) kernels::widen(m1, count, slice.m1 = own.m1.data());
  step_(slice);
  kernels::round_stochastically(rounding_place(), static_cast<std::int32_t>(rows.begin), own.rows.data(),
                                own.columns.data(), count, slice.value, slice.m1, value, m1);
}

template <class Element>
void CompactLinear::learn(Walk& walk, Block& block, Panels<const Element> x, Panels<const float> dz,
                          Panels<float> dx) {
  ParameterSlice slice{.kind = weight_.kind,
                       .size = block.count,
                       .value = block.gather(weight_.value, walk.value),
                       .gradient = walk.gradient.data(),
                       .m1 = block.gather(weight_.m1, walk.m1),
                       .m2 = block.gather(weight_.m2, walk.m2),
                       .age = block.gather(weight_.age, walk.age)};
  std::uint16_t* const bf16_value = block.gather(weight_.bf16_value, walk.bf16_value);
  std::uint16_t* const bf16_m1 = block.gather(weight_.bf16_m1, walk.bf16_m1);
  const auto widened = [&](const std::uint16_t* bits, float* numbers) {
    kernels::widen(bits, block.count, numbers);
    return numbers;
  };
  if (bf16_value != nullptr) slice.value = widened(bf16_value, walk.value.data());
  if (bf16_m1 != nullptr) slice.m1 = widened(bf16_m1, walk.m1.data());
  const kernels::Gate gate = gates_errors() ? this->gate() : kernels::Gate{};
  const Range biases{std::max<std::int64_t>(walk.biases.begin, block.first),
                     std::min<std::int64_t>(walk.biases.end, block.ended)};
  const bool owns_biases = options().has_bias && biases.begin < biases.end;
  for (std::int32_t p = 0; p < dz.count(); ++p) {
    const kernels::Gate whole = of_panel(gate, p, outputs(), dz.width);
    const kernels::Gate of_block = at_row(whole, block.first, dz.width);
    const float* const errors = dz.panel(p) + std::int64_t{block.first} * dz.width;
    if (owns_biases)
      kernels::sum_rows({0, biases.end - biases.begin}, dz.width, dz.panel(p) + biases.begin * dz.width,
                        at_row(whole, biases.begin, dz.width), p > 0, walk.bias.gradient.data());
    kernels::fused_backward({block.count, block.rows.data(), block.columns.data(), slice.value}, dz.width,
                            errors, of_block, x.panel(p), dx ? dx.panel(p) : nullptr, p > 0,
                            walk.gradient.data());
  }
  step_(slice);
  if (owns_biases) step_biases(walk, biases);
  if (bf16_value != nullptr)
    kernels::round_stochastically(rounding_place(), block.first, block.rows.data(), block.columns.data(),
                                  block.count, slice.value, slice.m1, bf16_value, bf16_m1);
  block.scatter(walk.value, weight_.value);
  block.scatter(walk.m1, weight_.m1);
  block.scatter(walk.m2, weight_.m2);
  block.scatter(walk.age, weight_.age);
  block.scatter(walk.bf16_value, weight_.bf16_value);
  block.scatter(walk.bf16_m1, weight_.bf16_m1);
}

void CompactLinear::multiply(Panels<const float> x, Panels<float> y, const kernels::Epilogue& epilogue) {
  forward_rows(x, y, epilogue);
}
void CompactLinear::multiply(Panels<const std::uint16_t> x, Panels<float> y,
                             const kernels::Epilogue& epilogue) {
  forward_rows(x, y, epilogue);
}
void CompactLinear::multiply_back(Panels<const float> x, Panels<const float> dz, Panels<float> dx,
                                  const kernels::Gate& gate) {
  back(x, dz, dx, gate);
}
void CompactLinear::multiply_back(Panels<const std::uint16_t> x, Panels<const float> dz, Panels<float> dx,
                                  const kernels::Gate& gate) {
  back(x, dz, dx, gate);
}

}  // namespace tulle
