// Iterative magnitude pruning, the baseline: a dense net with an output layer of its own and without biases
// is trained, loses its weakest weights, goes back to its first values and is trained again. What is gone is
// gone from memory and time too.

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "tulle/base/random.h"
#include "tulle/nn/loss.h"
#include "tulle/nn/network.h"
#include "tulle/nn/sparse_linear.h"
#include "tulle/optim/optimizer.h"
#include "tulle/recover/imp_rounds.h"
#include "tulle/recover/recovery.h"
#include "tulle/sparse/sampling.h"
#include "tulle/sparse/selection.h"

namespace tulle {

namespace {

constexpr double kShare = 0.1;  // pruned in each round

// The first value of a connection depends on its place alone, so that going back needs no copy: uniform in
// +-1 / sqrt(fan in).
void rewind(Layer& layer, std::uint64_t seed) {
  const Topology& topology = *layer.topology();
  const Random random{
      .seed = seed, .stream = Stream::kValue, .layer = static_cast<std::uint32_t>(layer.options().index)};
  const float spread = 1.0f / std::sqrt(static_cast<float>(layer.inputs()));
  std::size_t k = 0;
  for (std::int32_t row = 0; row < topology.rows(); ++row)
    for (const std::int32_t column : topology.row(row))
      layer.weight().value[k++] =
          spread * (2.0f * random.uniform(static_cast<std::uint64_t>(row) *
                                              static_cast<std::uint64_t>(topology.cols()) +
                                          static_cast<std::uint64_t>(column)) -
                    1.0f);
}

Network network_of(Topology hidden, Topology output) {
  std::vector<std::unique_ptr<Layer>> layers;
  layers.push_back(std::make_unique<SparseLinear>(
      LayerOptions{.index = 0, .inputs = hidden.cols(), .outputs = hidden.rows(), .activation = "relu"},
      hidden));
  layers.push_back(std::make_unique<SparseLinear>(
      LayerOptions{.index = 1, .inputs = output.cols(), .outputs = output.rows()}, output));
  return Network(std::move(layers));
}

// A batch of the problem as panels.
struct Batch {
  PanelBuffer memory;
  Panels<float> x;
  std::vector<float> values;
  std::vector<std::int32_t> classes;
};

class Trainer {
 public:
  Trainer(const RecoverProblem& problem, const RecoverOptions& options, double rate, bool cosine)
      : problem_(problem),
        options_(options),
        rate_(rate),
        cosine_(cosine),
        optimizer_(std::ranges::find(optimizers(), "adam", &OptimizerInfo::name)->make({})) {
    const std::int64_t n = problem.x.count(), size = options.batch == 0 ? n : std::min(options.batch, n);
    for (std::int64_t first = 0; first < n; first += size)
      rows_.push_back({first, std::min(n, first + size)});
  }

  // The sum of the loss over all samples after `steps` steps; 0 steps: now.
  double train(Network& network, std::int64_t steps) {
    for (std::size_t l = 0; l < network.size(); ++l) optimizer_->prepare(network.layer(l).weight());
    for (std::int64_t t = 0; t < steps && !(options_.stop != nullptr && *options_.stop); ++t) {
      const double decay =
          cosine_
              ? 0.5 * (1.0 + std::cos(std::numbers::pi * static_cast<double>(t) / static_cast<double>(steps)))
              : 1.0;
      (void)pass(network, batch(network, static_cast<std::size_t>(t) % rows_.size()), true);
      for (std::size_t l = 0; l < network.size(); ++l)
        optimizer_->step(network.layer(l).weight(), static_cast<float>(rate_ * decay));
    }
    double loss = 0.0;
    for (std::size_t b = 0; b < rows_.size(); ++b) loss += pass(network, batch(network, b), false);
    return loss;
  }
  std::int64_t batches() const { return static_cast<std::int64_t>(rows_.size()); }

 private:
  Batch& batch(Network& network, std::size_t b) {
    if (batches_.empty()) batches_.resize(rows_.size());
    Batch& batch = batches_[b];
    if (batch.x) return batch;
    const Range rows = rows_[b];
    const auto count = static_cast<std::int32_t>(rows.end - rows.begin);
    batch.x = batch.memory.view(network.inputs(), count, network.panel_width(count));
    for (std::int32_t c = 0; c < network.inputs(); ++c)
      for (std::int32_t i = 0; i < count; ++i) batch.x.at(i, c) = problem_.x.column(c)[rows.begin + i];
    for (std::int64_t i = rows.begin; i < rows.end; ++i) {
      if (problem_.classify) {
        std::int32_t label = 0;
        while (wanted(label, i) == 0.0) ++label;
        batch.classes.push_back(label);
      } else {
        for (std::int32_t o = 0; o < problem_.outputs; ++o)
          batch.values.push_back(static_cast<float>(wanted(o, i)));
      }
    }
    return batch;
  }
  double wanted(std::int32_t output, std::int64_t i) const {
    return problem_.y[static_cast<std::size_t>(output * problem_.x.padded() + i)];
  }
  double pass(Network& network, const Batch& batch, bool back) {
    const LossInfo& loss =
        *std::ranges::find(losses(), problem_.classify ? "cross-entropy" : "mse", &LossInfo::name);
    const Panels<const float> z = network.forward({.training = back}, batch.x);
    const Targets targets{.classes = batch.classes, .values = batch.values};
    if (!back) return loss.compute(z, targets, {}, {}).loss_sum;
    const double sum = loss.compute(z, targets, {}, network.output_gradient()).loss_sum;
    network.backward();
    return sum;
  }

  const RecoverProblem& problem_;
  const RecoverOptions& options_;
  double rate_;
  bool cosine_;
  std::unique_ptr<Optimizer> optimizer_;
  std::vector<Range> rows_;
  std::vector<Batch> batches_;
};

// The network without its weakest weights, of both layers together, so that `kept` stay.
Network pruned_to(Network& network, std::int64_t kept) {
  std::vector<float> magnitudes;
  for (std::size_t l = 0; l < 2; ++l)
    for (const float w : network.layer(l).weight().value) magnitudes.push_back(std::abs(w));
  std::vector<std::uint8_t> marks(magnitudes.size(), 0);
  mark_weakest_of_each_sign(magnitudes, 0, static_cast<std::int64_t>(magnitudes.size()) - kept, marks);
  const auto first = static_cast<std::size_t>(network.layer(0).connections());
  const std::span all = std::span<const std::uint8_t>(marks);
  TopologyUpdate hidden = without(*network.layer(0).topology(), all.first(first));
  TopologyUpdate output = without(*network.layer(1).topology(), all.subspan(first));
  Network smaller = network_of(hidden.topology, output.topology);
  smaller.layer(0).weight().value = carry_over<float>(hidden, network.layer(0).weight().value, 0.0f);
  smaller.layer(1).weight().value = carry_over<float>(output, network.layer(1).weight().value, 0.0f);
  return smaller;
}

SparseWeights weights_of(const Layer& layer) {
  const std::vector<std::uint64_t> keys = layer.topology()->keys();
  return SparseWeights(layer.outputs(), layer.inputs(), std::vector<std::int64_t>(keys.begin(), keys.end()),
                       std::vector<double>(layer.weight().value.begin(), layer.weight().value.end()));
}

}  // namespace

std::vector<std::int64_t> imp_rounds(std::int64_t weights, std::int64_t nnz, double share, bool exact) {
  std::vector<std::int64_t> kept;
  do {
    const auto gone =
        static_cast<std::int64_t>(std::nearbyint(share * static_cast<double>(weights)));  // halves to even
    weights -= std::max<std::int64_t>(gone, 1);
    if (exact) weights = std::max(weights, nnz);
    kept.push_back(weights);
  } while (weights > nnz);
  return kept;
}

Recovery solve_imp(const RecoverProblem& problem, const RecoverOptions& options,
                   const RecoverProgress& progress) {
  const bool published = options.imp == "published";
  const std::vector<double> rates =
      published ? std::vector<double>{1e-3} : std::vector<double>{3e-3, 1e-2, 3e-2};
  const auto neurons = static_cast<std::int32_t>(options.hidden_width);
  Recovery best;
  best.loss = std::numeric_limits<double>::infinity();
  best.starts = static_cast<std::int64_t>(rates.size());
  for (const double rate : rates) {
    Trainer trainer(problem, options, rate, !published);
    const std::int64_t steps =
        (options.steps == 0 ? (published ? 15 : 300) : options.steps) * (published ? trainer.batches() : 1);
    Network network =
        network_of(full_topology(neurons, problem.x.features()), full_topology(problem.outputs, neurons));
    std::vector<double> losses;
    bool stopped = false;
    for (const std::int64_t kept : imp_rounds(network.connections(), options.nnz, kShare, !published)) {
      for (std::size_t l = 0; l < 2; ++l) rewind(network.layer(l), options.seed);
      (void)trainer.train(network, steps);
      network = pruned_to(network, kept);
      losses.push_back(trainer.train(network, 0));
      best.steps += steps;
      if (progress && !progress(best.steps, losses.back(), kept)) {
        stopped = true;
        break;
      }
    }
    if (!published && !stopped) losses.push_back(trainer.train(network, 4 * steps));
    if (network.connections() <= options.nnz && losses.back() < best.loss) {
      best.loss = losses.back();
      best.losses = std::move(losses);
      best.net = {
          .below = {}, .weights = weights_of(network.layer(0)), .output = weights_of(network.layer(1))};
    }
    if (stopped) break;
  }
  return best;
}

}  // namespace tulle
