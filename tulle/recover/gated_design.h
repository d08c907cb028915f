#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "tulle/base/parallel.h"
#include "tulle/recover/samples.h"
#include "tulle/recover/sparse_weights.h"

namespace tulle {

/// The two-layer ReLU net with one output as a linear map, arXiv 2509.20323: with gates G[i][j] = x_i . h_j >
/// 0 fixed,
///   A w = sum over neurons j of G_j .* (X w_j),
/// and with h_j = sign_j * w_j this is the net f(x) = sum_j sign_j * relu(sign_j x . w_j) itself. A has
/// samples x (neurons * features) entries and is never formed. Vectors over samples are doubles of x.padded()
/// entries, 0 beyond x.count(); sums run over tiles of 512 samples in the same order for any number of
/// threads. Memory: gates as bits of the bound neurons, samples * neurons / 8 bytes, if that is at most half
/// the workspace (else they are made anew for each product), 16 partial sums for each bound nonzero, and the
/// tiles of gradient().
class GatedDesign {
 public:
  /// `x` must outlive this. Throws std::invalid_argument if the workspace is below minimum_workspace().
  GatedDesign(const Samples& x, std::int64_t neurons, std::int64_t workspace_bytes);
  static std::int64_t minimum_workspace();

  const Samples& samples() const { return x_; }
  std::int64_t neurons() const { return neurons_; }

  /// Every neuron gets gates h_j ~ N(0, I), made from (seed, neuron, feature) wherever they are needed.
  void set_random_gates(std::uint64_t seed);
  /// Neurons get the gates of these vectors times their signs; those without one are closed for all samples.
  void set_gates(SparseWeights gates);
  /// The gates of a design of other samples.
  void set_gates_of(const GatedDesign& other);
  /// Every gate is open: A w is plain X w.
  void set_open_gates();
  bool random_gates() const { return kind_ == Kind::kRandom; }
  /// Those of set_gates().
  const SparseWeights& gates() const { return gates_; }
  /// x_i . h_j of random gates is not kept; this is h_j . w_j of a block, whose sign tells on which side of
  /// its gate a neuron was fitted.
  double agreement(const SparseWeights& weights, const SparseWeights::Block& block) const;

  /// Chooses the columns S of the products below: the nonzeros of `support`, whose values do not matter.
  /// Cost: 2 * samples * |gates of its neurons|.
  void bind(const SparseWeights& support);
  /// y = A_S v. Cost: 2 * samples * |S|.
  void multiply(std::span<const double> v, std::span<double> y) const;
  /// g = A_S^T r. Cost: 2 * samples * |S|.
  void multiply_transposed(std::span<const double> r, std::span<double> g) const;

  /// Called for pieces of A^T r: the features first, first + 1, ... of one neuron. Pieces of one part come
  /// one after another, parts run at the same time; every number comes once, whatever the number of threads.
  using GradientSink =
      std::function<void(int part, std::int64_t neuron, std::int32_t first, std::span<const double> piece)>;
  /// How many parts gradient() has at most.
  static int gradient_parts() { return thread_count(); }
  /// A^T r for all features of all neurons that have gates, piece by piece. Cost: 2 * samples * features *
  /// neurons with gates, as products of single precision over 512 samples, summed in double; twice that with
  /// random gates.
  void gradient(std::span<const double> r, const GradientSink& sink) const;

  /// The rows first, first + 1, ... of one neuron as gradient() passes them.
  struct GateRows {
    std::int64_t neuron, first, count;
    const double* product;      // x_i . h_j (1 with open gates)
    const std::uint64_t* bits;  // G_ij
    bool again;                 // the same rows were passed before, for other features
  };
  /// The general form, X^T (what `residual` writes for each neuron): out[i] of GateRows::count numbers.
  using ResidualOf = std::function<void(int part, const GateRows& rows, float* out)>;
  void gradient(const ResidualOf& residual, const GradientSink& sink) const;

  /// y = f(X), the net of these weights with its own gates. Cost: 2 * samples * nonzeros.
  void outputs(const SparseWeights& weights, std::span<double> y) const;

 private:
  struct Rows {
    std::int64_t begin, count;
  };
  class GateMaker;

  std::int64_t tiles() const { return (x_.padded() + kernels::kTileRows - 1) / kernels::kTileRows; }
  Rows tile(std::int64_t t) const;
  template <class Body>
  void for_tiles(const Body& body) const;

  const Samples& x_;
  std::int64_t neurons_;
  std::int64_t workspace_;
  enum class Kind { kRandom, kVectors, kOpen };
  Kind kind_ = Kind::kVectors;
  std::uint64_t seed_ = 0;
  SparseWeights gates_;

  // Of the bound support.
  std::vector<SparseWeights::Block> blocks_;
  std::vector<std::int32_t> features_;
  std::vector<std::int64_t> bound_neurons_;
  std::vector<std::uint64_t> bits_;  // [tile][block][word]; empty if they did not fit
  mutable std::vector<double> partial_;
};

}  // namespace tulle
