#include "tulle/recover/gated_design.h"

#include <algorithm>
#include <utility>

#include "tulle/base/check.h"
#include "tulle/base/random.h"
#include "tulle/kernels/gated.h"
#include "tulle/kernels/gemm.h"

namespace tulle {

namespace {

using kernels::kTileRows;
using kernels::kTileWords;

constexpr std::int64_t kGroup = 16;  // neurons whose gradients are made by one product
// Features of one product. Part of the definition: the sums of a product depend on its shape, so nothing that
// differs between runs may choose it.
constexpr std::int64_t kFeatureTile = 128;
constexpr std::int64_t kPiecesOfPart = 4;  // wanted for each thread; more would make gates more often
constexpr int kChunks = 16;                // of tiles; each has its own sums

float random_gate(std::uint64_t seed, std::int64_t neuron, std::int32_t features, std::int64_t feature) {
  return Random{.seed = seed, .stream = Stream::kGates}.normal(
      static_cast<std::uint64_t>(neuron * features + feature));
}

// Bytes of one part in gradient() for so many features at a time.
std::int64_t part_bytes(std::int64_t features_at_once, std::int32_t features, bool random) {
  const std::int64_t sums =
      kGroup * (4 * kFeatureTile + 8 * features_at_once);  // f32 of a product, f64 of all
  const std::int64_t rows = 12 * kGroup * kTileRows + 16 * kTileRows + kGroup * kTileRows / 8;
  return sums + rows + (random ? 4 * kGroup * (features + kTileRows) : 0);
}

}  // namespace

// Makes the gates of up to kGroup neurons, tile by tile.
class GatedDesign::GateMaker {
 public:
  GateMaker(const GatedDesign& design, std::span<const std::int64_t> neurons)
      : design_(design), neurons_(neurons), t_(neurons.size() * kTileRows, 1.0) {
    if (!design.random_gates()) {
      for (std::size_t k = 0; k < neurons.size(); ++k) blocks_[k] = design.gates_.find(neurons[k]);
      return;
    }
    const std::int32_t features = design.x_.features();
    vectors_.resize(neurons.size() * static_cast<std::size_t>(features));
    products_.resize(neurons.size() * static_cast<std::size_t>(kTileRows));
    float* to = vectors_.data();
    for (const std::int64_t neuron : neurons)
      for (std::int32_t c = 0; c < features; ++c) *to++ = random_gate(design.seed_, neuron, features, c);
  }

  // bits[k][word] for these rows; product(k) is what they tell the sign of.
  const double* product(std::size_t k) const { return t_.data() + k * kTileRows; }
  void make(Rows rows, std::uint64_t* bits) {
    const Samples& x = design_.x_;
    if (design_.kind_ == Kind::kOpen) {
      std::fill_n(bits, neurons_.size() * kTileWords, ~std::uint64_t{0});
      return;
    }
    if (design_.random_gates()) {
      kernels::gemm(false, false, static_cast<std::int64_t>(neurons_.size()), rows.count, x.features(),
                    vectors_.data(), x.features(), x.data() + rows.begin, x.stride(), false, products_.data(),
                    kTileRows);
    }
    for (std::size_t k = 0; k < neurons_.size(); ++k, bits += kTileWords) {
      double* const t = t_.data() + k * kTileRows;
      if (design_.random_gates()) {
        const float* const product = products_.data() + static_cast<std::int64_t>(k) * kTileRows;
        std::copy_n(product, rows.count, t);
      } else {
        const SparseWeights::Block* const block = blocks_[k];
        if (block == nullptr) {
          std::fill_n(bits, kTileWords, 0);
          continue;
        }
        const SparseWeights& gates = design_.gates_;
        kernels::combine_columns(x.data() + rows.begin, x.stride(), gates.feature().data() + block->begin,
                                 gates.values().data() + block->begin, block->end - block->begin, rows.count,
                                 t);
        if (block->sign < 0)
          for (std::int64_t i = 0; i < rows.count; ++i) t[i] = -t[i];
      }
      kernels::positive_gates(t, rows.count, bits);
    }
  }

 private:
  const GatedDesign& design_;
  std::span<const std::int64_t> neurons_;
  const SparseWeights::Block* blocks_[kGroup] = {};
  std::vector<double> t_;
  AlignedVector<float> vectors_, products_;
};

GatedDesign::GatedDesign(const Samples& x, std::int64_t neurons, std::int64_t workspace_bytes)
    : x_(x), neurons_(neurons), workspace_(workspace_bytes) {
  require(x.count() > 0 && x.features() > 0 && neurons > 0,
          "gated design: samples, features and neurons, found none");
  require(workspace_bytes >= minimum_workspace(), "gated design: the workspace is too small");
}

std::int64_t GatedDesign::minimum_workspace() { return std::int64_t{1} << 20; }

GatedDesign::Rows GatedDesign::tile(std::int64_t t) const {
  const std::int64_t begin = t * kTileRows;
  return {begin, std::min(kTileRows, x_.padded() - begin)};
}

// body(chunk, tile) for all tiles, those of a chunk in order.
template <class Body>
void GatedDesign::for_tiles(const Body& body) const {
  const auto chunks = static_cast<int>(std::min<std::int64_t>(kChunks, tiles()));
  parallel_parts(chunks, [&](int chunk) {
    const Range range = even_range(tiles(), chunks, chunk);
    for (std::int64_t t = range.begin; t < range.end; ++t) body(chunk, t);
  });
}

void GatedDesign::set_random_gates(std::uint64_t seed) {
  kind_ = Kind::kRandom;
  seed_ = seed;
  gates_ = {};
}

void GatedDesign::set_open_gates() {
  kind_ = Kind::kOpen;
  gates_ = {};
}

void GatedDesign::set_gates(SparseWeights gates) {
  kind_ = Kind::kVectors;
  gates_ = std::move(gates);
}

void GatedDesign::set_gates_of(const GatedDesign& other) {
  kind_ = other.kind_;
  seed_ = other.seed_;
  gates_ = other.gates_;
}

double GatedDesign::agreement(const SparseWeights& weights, const SparseWeights::Block& block) const {
  double sum = 0.0;
  for (std::int64_t k = block.begin; k < block.end; ++k) {
    const auto at = static_cast<std::size_t>(k);
    sum += weights.values()[at] * random_gate(seed_, block.neuron, x_.features(), weights.feature()[at]);
  }
  return sum;
}

void GatedDesign::bind(const SparseWeights& support) {
  blocks_.assign(support.blocks().begin(), support.blocks().end());
  features_.assign(support.feature().begin(), support.feature().end());
  bound_neurons_.clear();
  for (const SparseWeights::Block& block : blocks_) bound_neurons_.push_back(block.neuron);
  partial_.assign(static_cast<std::size_t>(kChunks) * features_.size(), 0.0);
  const std::size_t words = static_cast<std::size_t>(tiles() * kTileWords) * blocks_.size();
  bits_.clear();
  if (8 * words > static_cast<std::size_t>(workspace_) / 2) return;
  bits_.resize(words);
  const auto count = static_cast<std::int64_t>(blocks_.size());
  const auto groups = static_cast<int>((count + kGroup - 1) / kGroup);
  // Few neurons are made tile by tile, many group by group: both ways give the same bits.
  const auto make = [&](std::int64_t g, std::int64_t first_tile, std::int64_t end_tile) {
    const std::int64_t first = g * kGroup, neurons = std::min(kGroup, count - first);
    GateMaker maker(*this, std::span(bound_neurons_)
                               .subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(neurons)));
    for (std::int64_t t = first_tile; t < end_tile; ++t)
      maker.make(tile(t), bits_.data() + (t * count + first) * kTileWords);
  };
  if (groups >= kChunks || random_gates())
    parallel_parts(groups, [&](int g) { make(g, 0, tiles()); });
  else
    for_tiles([&](int, std::int64_t t) {
      for (int g = 0; g < groups; ++g) make(g, t, t + 1);
    });
}

namespace {

// The bits of one tile: kept ones, or made for this use.
template <class Make>
const std::uint64_t* bits_of_tile(const std::vector<std::uint64_t>& kept, std::int64_t t, std::size_t blocks,
                                  std::vector<std::uint64_t>& made, const Make& make) {
  if (!kept.empty()) return kept.data() + t * static_cast<std::int64_t>(blocks) * kTileWords;
  made.resize(blocks * kTileWords);
  for (std::size_t first = 0; first < blocks; first += kGroup)
    make(first, std::min<std::size_t>(kGroup, blocks - first), made.data() + first * kTileWords);
  return made.data();
}

}  // namespace

void GatedDesign::multiply(std::span<const double> v, std::span<double> y) const {
  require(v.size() == features_.size() && static_cast<std::int64_t>(y.size()) == x_.padded(),
          "gated design: sizes differ");
  for_tiles([&](int, std::int64_t t) {
    const Rows rows = tile(t);
    std::vector<std::uint64_t> made;
    const std::uint64_t* bits = bits_of_tile(
        bits_, t, blocks_.size(), made, [&](std::size_t first, std::size_t n, std::uint64_t* to) {
          GateMaker(*this, std::span(bound_neurons_).subspan(first, n)).make(rows, to);
        });
    double sums[kTileRows] = {}, product[kTileRows];
    for (const SparseWeights::Block& block : blocks_) {
      kernels::combine_columns(x_.data() + rows.begin, x_.stride(), features_.data() + block.begin,
                               v.data() + block.begin, block.end - block.begin, rows.count, product);
      kernels::add_gated(product, bits, rows.count, sums);
      bits += kTileWords;
    }
    std::copy_n(sums, rows.count, y.data() + rows.begin);
  });
}

void GatedDesign::multiply_transposed(std::span<const double> r, std::span<double> g) const {
  require(g.size() == features_.size() && static_cast<std::int64_t>(r.size()) == x_.padded(),
          "gated design: sizes differ");
  std::fill(partial_.begin(), partial_.end(), 0.0);
  for_tiles([&](int chunk, std::int64_t t) {
    const Rows rows = tile(t);
    std::vector<std::uint64_t> made;
    const std::uint64_t* bits = bits_of_tile(
        bits_, t, blocks_.size(), made, [&](std::size_t first, std::size_t n, std::uint64_t* to) {
          GateMaker(*this, std::span(bound_neurons_).subspan(first, n)).make(rows, to);
        });
    double* const sums = partial_.data() + static_cast<std::size_t>(chunk) * features_.size();
    double gated[kTileRows];
    for (const SparseWeights::Block& block : blocks_) {
      kernels::gate(r.data() + rows.begin, bits, rows.count, gated);
      kernels::dot_columns(x_.data() + rows.begin, x_.stride(), features_.data() + block.begin,
                           block.end - block.begin, gated, rows.count, sums + block.begin);
      bits += kTileWords;
    }
  });
  std::fill(g.begin(), g.end(), 0.0);
  for (int chunk = 0; chunk < kChunks; ++chunk)
    for (std::size_t k = 0; k < g.size(); ++k)
      g[k] += partial_[static_cast<std::size_t>(chunk) * g.size() + k];
}

void GatedDesign::outputs(const SparseWeights& weights, std::span<double> y) const {
  require(static_cast<std::int64_t>(y.size()) == x_.padded() && weights.features() == x_.features(),
          "gated design: sizes differ");
  for_tiles([&](int, std::int64_t t) {
    const Rows rows = tile(t);
    double sums[kTileRows] = {}, product[kTileRows];
    for (const SparseWeights::Block& block : weights.blocks()) {
      kernels::combine_columns(x_.data() + rows.begin, x_.stride(), weights.feature().data() + block.begin,
                               weights.values().data() + block.begin, block.end - block.begin, rows.count,
                               product);
      kernels::add_rectified(product, block.sign > 0, rows.count, sums);
    }
    std::copy_n(sums, rows.count, y.data() + rows.begin);
  });
}

void GatedDesign::gradient(std::span<const double> r, const GradientSink& sink) const {
  require(static_cast<std::int64_t>(r.size()) == x_.padded(), "gated design: sizes differ");
  gradient([&](int, const GateRows& rows,
               float* out) { kernels::gate(r.data() + rows.first, rows.bits, rows.count, out); },
           sink);
}

void GatedDesign::gradient(const ResidualOf& residual, const GradientSink& sink) const {
  const std::int64_t count =
      kind_ != Kind::kVectors ? neurons_ : static_cast<std::int64_t>(gates_.blocks().size());
  if (count == 0) return;
  const std::int32_t d = x_.features();
  const std::int64_t groups = (count + kGroup - 1) / kGroup;
  int parts = gradient_parts();
  // A number is the same in any piece of whole tiles, and in any part.
  const std::int64_t wanted = (kPiecesOfPart * parts + groups - 1) / groups;
  const std::int64_t feature_tiles = (d + kFeatureTile - 1) / kFeatureTile;
  std::int64_t tiles_at_once = (feature_tiles + wanted - 1) / wanted;
  const auto fits = [&] {
    return parts * part_bytes(tiles_at_once * kFeatureTile, d, random_gates()) <= workspace_ / 2;
  };
  while (tiles_at_once > 1 && !fits()) tiles_at_once = (tiles_at_once + 1) / 2;
  while (parts > 1 && !fits()) --parts;
  const std::int64_t at_once = tiles_at_once * kFeatureTile, pieces = (d + at_once - 1) / at_once;

  parallel_parts(parts, [&](int part) {
    const Range range = even_range(groups * pieces, parts, part);
    if (range.begin == range.end) return;
    AlignedVector<float> gated(static_cast<std::size_t>(kGroup * kTileRows)),
        product(static_cast<std::size_t>(kGroup * kFeatureTile));
    std::vector<double> sums(static_cast<std::size_t>(kGroup * at_once));
    std::uint64_t bits[kGroup * kTileWords];
    for (std::int64_t unit = range.begin; unit < range.end; ++unit) {
      const std::int64_t first_neuron = unit % groups * kGroup,
                         neurons = std::min(kGroup, count - first_neuron);
      const std::int64_t first = unit / groups * at_once, features = std::min(at_once, d - first);
      std::int64_t ids[kGroup];
      for (std::int64_t k = 0; k < neurons; ++k)
        ids[k] = kind_ != Kind::kVectors ? first_neuron + k
                                         : gates_.blocks()[static_cast<std::size_t>(first_neuron + k)].neuron;
      GateMaker maker(*this, std::span<const std::int64_t>(ids, static_cast<std::size_t>(neurons)));
      std::fill(sums.begin(), sums.end(), 0.0);
      for (std::int64_t t = 0; t < tiles(); ++t) {
        const Rows rows = tile(t);
        maker.make(rows, bits);
        for (std::int64_t k = 0; k < neurons; ++k)
          residual(part,
                   {.neuron = ids[k],
                    .first = rows.begin,
                    .count = rows.count,
                    .product = maker.product(static_cast<std::size_t>(k)),
                    .bits = bits + k * kTileWords,
                    .again = first > 0},
                   gated.data() + k * kTileRows);
        for (std::int64_t from = 0; from < features; from += kFeatureTile) {
          const std::int64_t width = std::min(kFeatureTile, features - from);
          kernels::gemm(false, true, neurons, width, rows.count, gated.data(), kTileRows,
                        x_.column(first + from) + rows.begin, x_.stride(), false, product.data(),
                        kFeatureTile);
          for (std::int64_t k = 0; k < neurons; ++k)
            for (std::int64_t c = 0; c < width; ++c)
              sums[static_cast<std::size_t>(k * at_once + from + c)] +=
                  product[static_cast<std::size_t>(k * kFeatureTile + c)];
        }
      }
      for (std::int64_t k = 0; k < neurons; ++k)
        sink(part, ids[k], static_cast<std::int32_t>(first),
             std::span<const double>(sums).subspan(static_cast<std::size_t>(k * at_once),
                                                   static_cast<std::size_t>(features)));
    }
  });
}

}  // namespace tulle
