#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tulle/recover/samples.h"
#include "tulle/recover/selector.h"
#include "tulle/recover/sparse_weights.h"

namespace tulle {

// Nets with several outputs, F(x) = W2 relu(W1 x), and what their products need; arXiv 2509.20323's vector
// form. Vectors over outputs are [output][padded sample].

/// Both layers: W1 [neuron][feature], W2 [neuron][output].
struct TwoLayers {
  SparseWeights first, second;
};

/// Of m neurons, d features and some outputs, from what was selected: W1's places first, W2's from m * d on.
TwoLayers layers_of(std::span<const Candidate> selected, std::int64_t m, std::int64_t d,
                    std::int32_t outputs);

/// [neuron][output] as [output][neuron], or back; without zeros.
SparseWeights transposed(const SparseWeights& weights);

/// Samples with what is wanted of them: numbers (sum of squares) or one-hot classes (cross-entropy).
struct OutputProblem {
  const Samples& x;
  std::span<const double> y;
  std::int32_t outputs = 1;
  bool classify = false;

  std::int64_t size() const { return static_cast<std::int64_t>(outputs) * x.padded(); }
};

/// One number for each nonzero of both layers.
struct LayersVector {
  std::vector<double> first, second;
};
double dot(const LayersVector& a, const LayersVector& b);
/// w + step * direction.
TwoLayers moved(const TwoLayers& w, double step, const LayersVector& direction);

/// f = F(X). Cost: 2 * samples * nonzeros, as of each function here.
void forward(const OutputProblem& problem, const TwoLayers& w, std::vector<double>& f);

/// The loss of outputs f, which become f - y, or softmax(f) - y: its slope, but for a factor 2 of squares.
/// With `p`, that gets softmax(f).
double loss_and_slope(const OutputProblem& problem, std::vector<double>& f, std::vector<double>* p = nullptr);
double loss_of(const OutputProblem& problem, const TwoLayers& w);

/// <v, H v> for the second derivative H of the same at outputs whose softmax is p.
double curvature(const OutputProblem& problem, const std::vector<double>& v, const std::vector<double>& p);

/// The slope on the support, from the slope r at the outputs.
LayersVector support_slope(const OutputProblem& problem, const TwoLayers& w, const std::vector<double>& r);

/// What selection asks of each present neuron of W1, z = relu(w_j . x).
struct NeuronSums {
  std::vector<double> slopes;   // [neuron][output]: <z, r_o>
  std::vector<double> squares;  // ||z||^2
  std::vector<double> open;     // samples with z > 0
};
/// Cost: 2 * samples * (nonzeros of W1 + outputs * neurons).
NeuronSums neuron_sums(const OutputProblem& problem, const SparseWeights& first,
                       const std::vector<double>& r);

/// How the outputs change along a direction, gates as they are.
std::vector<double> output_change(const OutputProblem& problem, const TwoLayers& w,
                                  const LayersVector& direction);

/// J^T H J direction, the Gauss-Newton matrix on the support times it: J as in output_change(), H as in
/// curvature(). Memory: one tile of the outputs, and 16 sums for each nonzero.
LayersVector curved(const OutputProblem& problem, const TwoLayers& w, const std::vector<double>& p,
                    const LayersVector& direction);

/// The sum of a[i] * b[i], count a multiple of 8.
double sum_of_products(const double* a, const double* b, std::int64_t count);
/// to[i] += scale * from[i].
void add_scaled(double scale, const double* from, std::int64_t count, double* to);

}  // namespace tulle
