#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tulle/recover/samples.h"
#include "tulle/recover/sparse_weights.h"

namespace tulle {

/// How a sparse net is looked for. Names are those of the config section [recover].
struct RecoverOptions {
  std::int64_t hidden_width = 10;  // neurons, m
  std::int64_t nnz = 50;           // nonzeros of the fused weights at most, s
  std::int64_t steps = 0;          // outer steps, or epochs with batches; 0: what the method takes by itself
  std::int64_t batch = 0;          // samples of a step; 0: all
  std::string signs = "auto";      // positive, alternate, gate, auto
  std::string gates =
      "sequential";  // own gates after two steps; fixed: random ones to the end; open: none (sensing)
  std::int64_t hidden_layers = 1;  // found one after another, each with its share of nnz
  std::int64_t starts = 0;         // of `strong`; 0: as many as it takes by itself
  double tolerance = 1e-9;         // of `strong`; enough is: sum r^2 <= tolerance * sum y^2
  double time_limit = 0.0;         // seconds after which `strong` starts nothing new; 0: none
  bool published = false;    // as arXiv 2509.20323 and its code do it: the last iterate, whatever its loss
  int descent_steps = 10;    // of `aiht`, on a fixed support
  std::string imp = "fair";  // form of `imp`: fair or published
  /// Several outputs: the strongest by `value`, or by a count sketch of all updates (`sketch`); auto: sketch
  /// if published.
  std::string select = "auto";
  std::uint64_t seed = 0;
  std::int64_t workspace = 32 << 20;  // bytes
  /// Asked by `imp` within its rounds, which are long; true: as if RecoverProgress said so. Null: never.
  const std::atomic<bool>* stop = nullptr;
  /// Where a method begins, with the gates of these weights; of 0 neurons: where it begins by itself. One
  /// output and one hidden layer only.
  SparseWeights start{};
};

/// What is to be met. Shapes: y [output][x.padded()], 0 beyond x.count(). With several outputs and `classify`
/// y is one-hot and the loss cross-entropy, else it is the sum of squares.
struct RecoverProblem {
  const Samples& x;
  std::span<const double> y;
  std::int32_t outputs = 1;
  bool classify = false;
};

/// A sparse net. With one output, fused: f(x) = sum_j sign_j * relu(sign_j x . w_j). With `output`, which is
/// then [output][neuron]: f(x) = sum_j output_j * relu(x . w_j), signs all +1.
struct SparseNet {
  std::vector<SparseWeights>
      below{};  // hidden layers under the last; layer l + 1's feature k is layer l's k-th present neuron
  SparseWeights weights{};  // last hidden layer
  SparseWeights output{};   // of 0 neurons: fused

  bool fused() const { return output.neurons() == 0; }
  std::int64_t nonzeros() const;
  /// As counted once the fused output weights stand by themselves.
  std::int64_t unfused_nonzeros() const;
};

/// relu(u_j . x) of the layer's present neurons, u_j = sign_j w_j, as samples of as many features. Cost: 2 *
/// samples * nonzeros.
Samples hidden_samples(const Samples& x, const SparseWeights& layer);

/// Shapes: [output][x.padded()]; one output if fused.
std::vector<double> net_outputs(const Samples& x, const SparseNet& net);

/// What was found.
struct Recovery {
  SparseNet net{};
  double loss = 0.0;       // sum of squares, or of cross-entropies
  std::int64_t steps = 0;  // outer steps taken, of all starts
  std::int64_t starts = 1;
  std::vector<double> losses{};  // after each step, of the start that won
};

/// Told after each step, from 1 on; false: stop, with the best so far.
using RecoverProgress = std::function<bool(std::int64_t step, double loss, std::int64_t nonzeros)>;

/// A method for nets with one hidden layer.
using RecoverFunction = Recovery (*)(const RecoverProblem&, const RecoverOptions&, const RecoverProgress&);

struct RecoverMethod {
  std::string_view name;
  std::string_view help;
  std::string_view source;
  RecoverFunction solve;          // one output
  RecoverFunction solve_outputs;  // several
  bool any_gates = false;         // takes `gates` other than sequential, and `select`
  bool any_start = false;         // takes `start`
};

/// The table of methods.
std::span<const RecoverMethod> recover_methods();

/// How signs of neurons are chosen.
std::vector<std::string> sign_rules();

/// By the method's name. Throws std::invalid_argument for options that cannot be (s or m below 1, sizes that
/// differ), tulle::Error: kConfig for a net that cannot have negative outputs while y has nothing but them,
/// kDiverged, kBadData for values that are not finite, or a method that has no such gates or no start.
/// Several hidden layers are found one after another: each is the layer of a net that predicts y from the
/// features below it, with floor(nnz / layers) nonzeros. s beyond m * d is taken as m * d. Memory beyond the
/// data: the workspace, a few doubles for each sample and a few hundred bytes for each nonzero; nothing that
/// grows with m * d, but for `imp`.
Recovery recover(std::string_view method, const RecoverProblem& problem, const RecoverOptions& options,
                 const RecoverProgress& progress = {});

}  // namespace tulle
