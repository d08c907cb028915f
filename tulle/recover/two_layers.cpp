#include "tulle/recover/two_layers.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tulle/base/parallel.h"
#include "tulle/recover/support.h"

namespace tulle {

namespace {

using kernels::kTileRows;

constexpr int kChunks = 16;  // of tiles; each has its own sums

double* output_of(std::vector<double>& all, const OutputProblem& part, std::int64_t o) {
  return all.data() + o * part.x.padded();
}
const double* output_of(const std::vector<double>& all, const OutputProblem& part, std::int64_t o) {
  return all.data() + o * part.x.padded();
}

template <class Body>
void for_tiles(const Samples& x, const Body& body) {
  const std::int64_t tiles = (x.padded() + kTileRows - 1) / kTileRows;
  const auto chunks = static_cast<int>(std::min<std::int64_t>(kChunks, tiles));
  parallel_parts(chunks, [&](int chunk) {
    const Range range = even_range(tiles, chunks, chunk);
    for (std::int64_t t = range.begin; t < range.end; ++t)
      body(chunk, t * kTileRows, std::min(kTileRows, x.padded() - t * kTileRows));
  });
}

void combine(const OutputProblem& part, const SparseWeights& weights, std::span<const double> values,
             const SparseWeights::Block& block, std::int64_t first, std::int64_t rows, double* t) {
  kernels::combine_columns(part.x.data() + first, part.x.stride(), weights.feature().data() + block.begin,
                           values.data() + block.begin, block.end - block.begin, rows, t);
}

// v becomes H v for the rows first, first + 1, ...; v is [output][kTileRows].
void apply_curvature(const OutputProblem& part, const std::vector<double>& p, std::int64_t first,
                     std::int64_t rows, double* v) {
  for (std::int64_t i = 0; i < rows; ++i) {
    const double* const p_i = p.data() + first + i;
    double mean = 0.0;
    for (std::int64_t o = 0; o < part.outputs; ++o) mean += p_i[o * part.x.padded()] * v[o * kTileRows + i];
    for (std::int64_t o = 0; o < part.outputs; ++o) {
      double& at = v[o * kTileRows + i];
      at = p_i[o * part.x.padded()] * (at - mean);
    }
  }
}

// Adds how the outputs of a tile change along a direction; output o of the tile is at to + o * stride.
void add_change(const OutputProblem& part, const TwoLayers& w, const LayersVector& direction,
                std::int64_t first, std::int64_t rows, double* to, std::int64_t stride) {
  double t[kTileRows], moved[kTileRows], gated[kTileRows];
  std::uint64_t bits[kernels::kTileWords];
  for (const SparseWeights::Block& block : w.first.blocks()) {
    const SparseWeights::Block* const out = w.second.find(block.neuron);
    if (out == nullptr) continue;
    combine(part, w.first, w.first.values(), block, first, rows, t);
    kernels::positive_gates(t, rows, bits);
    kernels::gate(t, bits, rows, t);
    combine(part, w.first, direction.first, block, first, rows, moved);
    kernels::gate(moved, bits, rows, gated);
    for (std::int64_t k = out->begin; k < out->end; ++k) {
      const auto at = static_cast<std::size_t>(k);
      double* const output = to + w.second.feature()[at] * stride;
      add_scaled(w.second.values()[at], gated, rows, output);
      add_scaled(direction.second[at], t, rows, output);
    }
  }
}

// Sums over tiles for each nonzero: every chunk of tiles has its own, which are added in order.
class SupportSums {
 public:
  explicit SupportSums(const TwoLayers& w)
      : first_(static_cast<std::size_t>(w.first.nonzeros())),
        second_(static_cast<std::size_t>(w.second.nonzeros())),
        sums_((first_ + second_) * kChunks, 0.0) {}

  // Adds a tile's share, from the slope at its outputs: output o is at r + o * stride.
  void add(int chunk, const OutputProblem& part, const TwoLayers& w, std::int64_t first, std::int64_t rows,
           const double* r, std::int64_t stride) {
    double t[kTileRows], back[kTileRows], gated[kTileRows];
    std::uint64_t bits[kernels::kTileWords];
    double* const of_first = sums_.data() + static_cast<std::size_t>(chunk) * (first_ + second_);
    double* const of_second = of_first + first_;
    for (const SparseWeights::Block& block : w.first.blocks()) {
      const SparseWeights::Block* const out = w.second.find(block.neuron);
      if (out == nullptr) continue;
      combine(part, w.first, w.first.values(), block, first, rows, t);
      kernels::positive_gates(t, rows, bits);
      kernels::gate(t, bits, rows, gated);
      std::fill_n(back, rows, 0.0);
      for (std::int64_t k = out->begin; k < out->end; ++k) {
        const auto at = static_cast<std::size_t>(k);
        const double* const slope = r + w.second.feature()[at] * stride;
        of_second[k] += sum_of_products(gated, slope, rows);
        add_scaled(w.second.values()[at], slope, rows, back);
      }
      kernels::gate(back, bits, rows, gated);
      kernels::dot_columns(part.x.data() + first, part.x.stride(), w.first.feature().data() + block.begin,
                           block.end - block.begin, gated, rows, of_first + block.begin);
    }
  }

  LayersVector total() const {
    LayersVector all{std::vector<double>(first_, 0.0), std::vector<double>(second_, 0.0)};
    for (std::size_t chunk = 0; chunk < kChunks; ++chunk) {
      const double* const sums = sums_.data() + chunk * (first_ + second_);
      for (std::size_t k = 0; k < first_; ++k) all.first[k] += sums[k];
      for (std::size_t k = 0; k < second_; ++k) all.second[k] += sums[first_ + k];
    }
    return all;
  }

 private:
  std::size_t first_, second_;
  std::vector<double> sums_;
};

}  // namespace

TwoLayers layers_of(std::span<const Candidate> selected, std::int64_t m, std::int64_t d,
                    std::int32_t outputs) {
  std::vector<std::int64_t> places[2];
  std::vector<double> values[2];
  for (const Candidate& c : selected) {
    const std::size_t layer = c.place < m * d ? 0 : 1;
    places[layer].push_back(layer == 0 ? c.place : c.place - m * d);
    values[layer].push_back(c.value);
  }
  return {SparseWeights(m, d, std::move(places[0]), std::move(values[0])),
          SparseWeights(m, outputs, std::move(places[1]), std::move(values[1]))};
}

SparseWeights transposed(const SparseWeights& weights) {
  std::vector<Candidate> entries;
  for (const SparseWeights::Block& block : weights.blocks())
    for (std::int64_t k = block.begin; k < block.end; ++k) {
      const auto at = static_cast<std::size_t>(k);
      if (weights.values()[at] != 0.0)
        entries.push_back({weights.feature()[at] * weights.neurons() + block.neuron, weights.values()[at]});
    }
  std::ranges::sort(entries, {}, &Candidate::place);
  std::vector<std::int64_t> places;
  std::vector<double> values;
  for (const Candidate& c : entries) {
    places.push_back(c.place);
    values.push_back(c.value);
  }
  return SparseWeights(weights.features(), static_cast<std::int32_t>(weights.neurons()), std::move(places),
                       std::move(values));
}

double dot(const LayersVector& a, const LayersVector& b) {
  return dot(a.first, b.first) + dot(a.second, b.second);
}

TwoLayers moved(const TwoLayers& w, double step, const LayersVector& direction) {
  TwoLayers to = w;
  for (std::size_t k = 0; k < direction.first.size(); ++k) to.first.values()[k] += step * direction.first[k];
  for (std::size_t k = 0; k < direction.second.size(); ++k)
    to.second.values()[k] += step * direction.second[k];
  return to;
}

void add_scaled(double scale, const double* from, std::int64_t count, double* to) {
  for (std::int64_t i = 0; i < count; ++i) to[i] += scale * from[i];
}

double sum_of_products(const double* a, const double* b, std::int64_t count) {
  double sums[8] = {};
  for (std::int64_t i = 0; i < count; i += 8)
    for (std::int64_t k = 0; k < 8; ++k) sums[k] += a[i + k] * b[i + k];
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

void forward(const OutputProblem& part, const TwoLayers& w, std::vector<double>& f) {
  f.assign(static_cast<std::size_t>(part.size()), 0.0);
  for_tiles(part.x, [&](int, std::int64_t first, std::int64_t rows) {
    double t[kTileRows];
    for (const SparseWeights::Block& block : w.first.blocks()) {
      const SparseWeights::Block* const out = w.second.find(block.neuron);
      if (out == nullptr) continue;
      combine(part, w.first, w.first.values(), block, first, rows, t);
      for (std::int64_t i = 0; i < rows; ++i) t[i] = std::max(t[i], 0.0);
      for (std::int64_t k = out->begin; k < out->end; ++k)
        add_scaled(w.second.values()[static_cast<std::size_t>(k)], t, rows,
                   output_of(f, part, w.second.feature()[static_cast<std::size_t>(k)]) + first);
    }
  });
}

double loss_and_slope(const OutputProblem& part, std::vector<double>& f, std::vector<double>* p) {
  double loss = 0.0;
  const std::int64_t stride = part.x.padded();
  if (!part.classify) {
    for (std::size_t i = 0; i < f.size(); ++i) {
      f[i] -= part.y[i];
      loss += f[i] * f[i];
    }
    return loss;
  }
  for (std::int64_t i = 0; i < part.x.count(); ++i) {
    double largest = -std::numeric_limits<double>::infinity(), sum = 0.0, wanted = 0.0;
    for (std::int64_t o = 0; o < part.outputs; ++o)
      largest = std::max(largest, f[static_cast<std::size_t>(o * stride + i)]);
    for (std::int64_t o = 0; o < part.outputs; ++o) {
      double& z = f[static_cast<std::size_t>(o * stride + i)];
      wanted += part.y[static_cast<std::size_t>(o * stride + i)] * (z - largest);
      z = std::exp(z - largest);
      sum += z;
    }
    loss += std::log(sum) - wanted;
    for (std::int64_t o = 0; o < part.outputs; ++o) f[static_cast<std::size_t>(o * stride + i)] /= sum;
  }
  for (std::int64_t o = 0; o < part.outputs; ++o)
    std::fill(f.begin() + o * stride + part.x.count(), f.begin() + (o + 1) * stride, 0.0);
  if (p != nullptr) *p = f;
  for (std::size_t i = 0; i < f.size(); ++i) f[i] -= part.y[i];
  return loss;
}

double loss_of(const OutputProblem& part, const TwoLayers& w) {
  std::vector<double> f;
  forward(part, w, f);
  return loss_and_slope(part, f);
}

double curvature(const OutputProblem& part, const std::vector<double>& v, const std::vector<double>& p) {
  if (!part.classify) return dot(v, v);
  double sum = 0.0;
  const std::int64_t stride = part.x.padded();
  for (std::int64_t i = 0; i < part.x.count(); ++i) {
    double squares = 0.0, mean = 0.0;
    for (std::int64_t o = 0; o < part.outputs; ++o) {
      const auto at = static_cast<std::size_t>(o * stride + i);
      squares += p[at] * v[at] * v[at];
      mean += p[at] * v[at];
    }
    sum += squares - mean * mean;
  }
  return sum;
}

NeuronSums neuron_sums(const OutputProblem& part, const SparseWeights& first, const std::vector<double>& r) {
  const std::size_t neurons = first.blocks().size(), outputs = static_cast<std::size_t>(part.outputs),
                    each = outputs + 2;
  std::vector<double> sums(kChunks * neurons * each, 0.0);
  for_tiles(part.x, [&](int chunk, std::int64_t from, std::int64_t rows) {
    double t[kTileRows];
    double* of_neuron = sums.data() + static_cast<std::size_t>(chunk) * neurons * each;
    for (const SparseWeights::Block& block : first.blocks()) {
      combine(part, first, first.values(), block, from, rows, t);
      for (std::int64_t i = 0; i < rows; ++i) {
        t[i] = std::max(t[i], 0.0);
        of_neuron[outputs + 1] += t[i] > 0.0 ? 1.0 : 0.0;
      }
      for (std::int64_t o = 0; o < part.outputs; ++o)
        of_neuron[o] += sum_of_products(t, output_of(r, part, o) + from, rows);
      of_neuron[outputs] += sum_of_products(t, t, rows);
      of_neuron += each;
    }
  });
  for (std::size_t chunk = 1; chunk < kChunks; ++chunk)
    for (std::size_t k = 0; k < neurons * each; ++k) sums[k] += sums[chunk * neurons * each + k];
  NeuronSums result;
  for (std::size_t b = 0; b < neurons; ++b) {
    const double* const of_neuron = sums.data() + b * each;
    result.slopes.insert(result.slopes.end(), of_neuron, of_neuron + outputs);
    result.squares.push_back(of_neuron[outputs]);
    result.open.push_back(of_neuron[outputs + 1]);
  }
  return result;
}

LayersVector support_slope(const OutputProblem& part, const TwoLayers& w, const std::vector<double>& r) {
  SupportSums sums(w);
  for_tiles(part.x, [&](int chunk, std::int64_t first, std::int64_t rows) {
    sums.add(chunk, part, w, first, rows, r.data() + first, part.x.padded());
  });
  return sums.total();
}

std::vector<double> output_change(const OutputProblem& part, const TwoLayers& w,
                                  const LayersVector& direction) {
  std::vector<double> v(static_cast<std::size_t>(part.size()), 0.0);
  for_tiles(part.x, [&](int, std::int64_t first, std::int64_t rows) {
    add_change(part, w, direction, first, rows, v.data() + first, part.x.padded());
  });
  return v;
}

LayersVector curved(const OutputProblem& part, const TwoLayers& w, const std::vector<double>& p,
                    const LayersVector& direction) {
  SupportSums sums(w);
  for_tiles(part.x, [&](int chunk, std::int64_t first, std::int64_t rows) {
    std::vector<double> v(static_cast<std::size_t>(part.outputs * kTileRows), 0.0);
    add_change(part, w, direction, first, rows, v.data(), kTileRows);
    if (part.classify) apply_curvature(part, p, first, rows, v.data());
    sums.add(chunk, part, w, first, rows, v.data(), kTileRows);
  });
  return sums.total();
}

}  // namespace tulle
