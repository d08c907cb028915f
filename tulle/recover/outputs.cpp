// Iterative hard thresholding of nets with several outputs: F(x) = W2 relu(W1 x), one budget over both
// layers.

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "tulle/base/random.h"
#include "tulle/recover/count_sketch.h"
#include "tulle/recover/support.h"
#include "tulle/recover/two_layers.h"

namespace tulle {

namespace {

using kernels::kTileRows;

constexpr int kHalvings = 10;      // of a step that does not lower the loss
constexpr int kInnerSteps = 5;     // of conjugate gradients after each choice of a support, of aiht
constexpr int kPursuitSteps = 50;  // the same of htp
constexpr int kLastSteps = 60;     // at the end, on all samples

// Nonlinear conjugate gradients (Polak and Ribiere 1969, never below 0) on the support, each step as long as
// the loss's own curvature says, halved until it lowers the loss.
void descend(const OutputProblem& part, TwoLayers& w, int steps) {
  if (w.first.nonzeros() == 0 || w.second.nonzeros() == 0) return;
  LayersVector before, direction;
  double squares = 0.0;
  for (int step = 0; step < steps; ++step) {
    std::vector<double> r, p;
    forward(part, w, r);
    const double loss = loss_and_slope(part, r, &p);
    LayersVector slope = support_slope(part, w, r);
    r = std::vector<double>();
    const double now = dot(slope, slope);
    const double beta = squares > 0.0 ? std::max((now - dot(slope, before)) / squares, 0.0) : 0.0;
    direction.first.resize(slope.first.size());
    direction.second.resize(slope.second.size());
    for (std::size_t k = 0; k < slope.first.size(); ++k)
      direction.first[k] = beta * direction.first[k] - slope.first[k];
    for (std::size_t k = 0; k < slope.second.size(); ++k)
      direction.second[k] = beta * direction.second[k] - slope.second[k];
    const double bend = curvature(part, output_change(part, w, direction), p), fall = -dot(slope, direction);
    if (!(bend > 0.0) || !(fall > 0.0)) return;
    double length = fall / bend;
    int halving = 0;
    for (; halving < kHalvings; ++halving, length /= 2) {
      TwoLayers trial = moved(w, length, direction);
      if (loss_of(part, trial) >= loss) continue;
      w = std::move(trial);
      break;
    }
    if (halving == kHalvings) return;
    squares = now;
    before = std::move(slope);
  }
}

class OutputsSolver {
 public:
  OutputsSolver(const RecoverProblem& problem, const RecoverOptions& options, int inner)
      : problem_(problem),
        options_(options),
        inner_(inner),
        sketched_(options.select == "sketch" || (options.select == "auto" && options.published)),
        m_(options.hidden_width),
        d_(problem.x.features()) {
    w_.first = SparseWeights(m_, d_);
    w_.second = SparseWeights(m_, problem.outputs);
    spread_first_ = 1.0 / std::sqrt(static_cast<double>(d_) * static_cast<double>(m_));
    spread_second_ = 1.0 / std::sqrt(static_cast<double>(m_) * problem.outputs);
  }

  Recovery run(const RecoverProgress& progress) {
    const std::int64_t epochs = options_.steps == 0 ? 15 : options_.steps;
    const OutputProblem all{
        .x = problem_.x, .y = problem_.y, .outputs = problem_.outputs, .classify = problem_.classify};
    Recovery best;
    best.loss = std::numeric_limits<double>::infinity();
    std::vector<double> losses;
    for (std::int64_t t = 0; t < epochs; ++t) {
      for_batches(problem_, options_, t, [&](const Samples& x, std::span<const double> y) {
        step({.x = x, .y = y, .outputs = problem_.outputs, .classify = problem_.classify});
      });
      if (inner_ > 0 && t + 1 == epochs) descend(all, w_, kLastSteps);
      const double loss = loss_of(all, w_);
      losses.push_back(loss);
      if (options_.published || !(loss >= best.loss)) {
        best.loss = loss;
        best.net.weights = w_.first.without_zeros();
        best.net.output = transposed(w_.second);
      }
      best.steps = t + 1;
      if (progress && !progress(best.steps, loss, w_.first.nonzeros() + w_.second.nonzeros())) break;
    }
    best.losses = std::move(losses);
    return best;
  }

 private:
  // What a step needs of the slopes at W1.
  struct Slopes {
    std::vector<Candidate> elsewhere;
    std::vector<double> at_support;
  };

  bool started() const { return w_.first.nonzeros() > 0 && w_.second.nonzeros() > 0; }
  // The first values of a neuron that has none: its gate vector, and independent uniform output weights.
  double first_output(std::int64_t neuron, std::int64_t output) const {
    const Random random{.seed = options_.seed, .stream = Stream::kGates, .layer = 2};
    return spread_second_ * (2.0 * static_cast<double>(random.uniform(
                                       static_cast<std::uint64_t>(neuron * problem_.outputs + output))) -
                             1.0);
  }

  // The b-th neuron with gates.
  std::int64_t neuron_of(bool first, std::size_t b) const {
    return first ? static_cast<std::int64_t>(b) : w_.first.blocks()[b].neuron;
  }
  // What selection compares: the value, or the sum of all updates of its place, as the sketch has it.
  double key(std::int64_t place, double value) const { return sketch_ ? sketch_->estimate(place) : value; }

  // One step of hard thresholding on these samples, over all weights of all neurons that have gates.
  void step(const OutputProblem& part) {
    GatedDesign design(part.x, m_, options_.workspace);
    const bool first = !started();
    if (first)
      design.set_random_gates(options_.seed);
    else
      design.set_gates(w_.first);
    std::vector<double> r, p;
    forward(part, w_, r);
    const double loss = loss_and_slope(part, r, &p);

    const std::int32_t k = part.outputs;
    // Slopes at W2 of all neurons with gates.
    const std::size_t neurons = first ? static_cast<std::size_t>(m_) : w_.first.blocks().size();
    std::vector<double> of_second(neurons * static_cast<std::size_t>(k));
    const auto index_of = [&](std::int64_t neuron) {
      return first ? static_cast<std::size_t>(neuron)
                   : static_cast<std::size_t>(w_.first.find(neuron) - w_.first.blocks().data());
    };
    const auto residual = [&](int, const GatedDesign::GateRows& rows, float* out) {
      double back[kTileRows] = {}, gated[kTileRows];
      const double scale = first ? spread_first_ : 1.0;
      kernels::gate(rows.product, rows.bits, rows.count, gated);
      const SparseWeights::Block* const block = w_.second.find(rows.neuron);
      for (std::int64_t o = 0; o < k; ++o) {
        const double* const slope = r.data() + o * part.x.padded() + rows.first;
        if (!rows.again)
          of_second[index_of(rows.neuron) * static_cast<std::size_t>(k) + static_cast<std::size_t>(o)] +=
              scale * sum_of_products(gated, slope, rows.count);
        if (first) add_scaled(first_output(rows.neuron, o), slope, rows.count, back);
      }
      for (std::int64_t e = block == nullptr ? 0 : block->begin; block != nullptr && e < block->end; ++e)
        add_scaled(w_.second.values()[static_cast<std::size_t>(e)],
                   r.data() + w_.second.feature()[static_cast<std::size_t>(e)] * part.x.padded() + rows.first,
                   rows.count, back);
      kernels::gate(back, rows.bits, rows.count, out);
    };
    // The slopes at W1, each told once: sink(part, neuron, first feature, slopes).
    const auto for_slopes = [&](const GatedDesign::GradientSink& sink) {
      std::ranges::fill(of_second, 0.0);
      design.gradient(residual, sink);
    };
    Slopes slope;
    const auto keep_slopes = [&] {
      StepSlopes slopes(w_.first, options_.nnz);
      for_slopes([&](int at, std::int64_t neuron, std::int32_t from, std::span<const double> piece) {
        slopes.take(at, neuron, from, piece, [&](std::int64_t place, double g) { return key(place, g); });
      });
      slope = {.elsewhere = slopes.elsewhere(), .at_support = slopes.at_support()};
    };
    if (!sketch_) keep_slopes();
    const auto largest_slope = [&] {
      double largest = 0.0;
      for (const Candidate& c : slope.elsewhere) largest = std::max(largest, std::abs(c.value));
      for (const double g : slope.at_support) largest = std::max(largest, std::abs(g));
      for (const double g : of_second) largest = std::max(largest, std::abs(g));
      return largest;
    };

    double mu = 0.0;
    if (options_.published) {
      const bool few = static_cast<double>(options_.nnz) < 6.0 * std::pow(static_cast<double>(m_), 0.536);
      mu = (part.classify ? 0.001 : few ? 2.0 : 0.005) / static_cast<double>(part.x.count());
    } else if (first) {
      // So far that the steepest weight moves by ten of its start values: slopes decide, not the draw.
      const double largest = largest_slope();
      mu = largest > 0.0 ? 10.0 * std::max(spread_first_, spread_second_) / largest : 0.0;
    } else {
      const LayersVector g = support_slope(part, w_, r);
      if (!sketched_) r = std::vector<double>();  // as large as the labels, and no longer asked for
      const double bend = curvature(part, output_change(part, w_, g), p);
      mu = bend > 0.0 ? dot(g, g) / bend : 0.0;
    }
    if (sketched_) {  // twice over the slopes: selection must not depend on which come first
      if (!sketch_) {
        const double largest = mu * largest_slope();
        sketch_.emplace(CountSketch::width_for(options_.nnz, m_ * (d_ + k)),
                        std::ldexp(largest > 0.0 ? largest : 1.0, -32), options_.seed);
      }
      for_slopes([&](int, std::int64_t neuron, std::int32_t from, std::span<const double> piece) {
        std::int64_t place = neuron * d_ + from;
        for (const double g : piece) sketch_->add(place++, -mu * g);
      });
      for (std::size_t b = 0; b < neurons; ++b)
        for (std::int64_t o = 0; o < k; ++o)
          sketch_->add(m_ * d_ + neuron_of(first, b) * k + o,
                       -mu * of_second[b * static_cast<std::size_t>(k) + static_cast<std::size_t>(o)]);
      keep_slopes();
    }
    r = std::vector<double>();
    p = std::vector<double>();
    TwoLayers next = w_;
    for (int halving = 0; halving < kHalvings; ++halving, mu /= 2) {
      next = thresholded(slope, of_second, mu, first, neurons);
      if (first || options_.published || sketched_) break;
      if (inner_ > 0) descend(part, next, inner_);
      if (inner_ > 0 || loss_of(part, next) < loss) break;  // with descent a support may change at a loss
    }
    if (first && inner_ > 0) descend(part, next, 2 * inner_);
    w_ = std::move(next);
  }

  // The strongest s of w - mu g over both layers.
  TwoLayers thresholded(const Slopes& slope, const std::vector<double>& of_second, double mu, bool first,
                        std::size_t neurons) const {
    const std::int64_t k = problem_.outputs, offset = m_ * d_;
    Selector selector(options_.nnz);
    const auto push = [&](std::int64_t place, double value) {
      selector.push(place, value, key(place, value));
    };
    for (std::size_t e = 0; e < slope.at_support.size(); ++e)
      push(w_.first.places()[e], w_.first.values()[e] - mu * slope.at_support[e]);
    for (const Candidate& c : slope.elsewhere) push(c.place, -mu * c.value);
    for (std::size_t b = 0; b < neurons; ++b) {
      const std::int64_t neuron = neuron_of(first, b);
      const SparseWeights::Block* const block = w_.second.find(neuron);
      std::int64_t at = block == nullptr ? 0 : block->begin;
      for (std::int64_t o = 0; o < k; ++o) {
        double value = -mu * of_second[b * static_cast<std::size_t>(k) + static_cast<std::size_t>(o)];
        if (first) value += first_output(neuron, o);
        if (block != nullptr && at < block->end && w_.second.feature()[static_cast<std::size_t>(at)] == o)
          value += w_.second.values()[static_cast<std::size_t>(at++)];
        push(offset + neuron * k + o, value);
      }
    }
    return layers_of(selector.finish(), m_, d_, problem_.outputs);
  }

  const RecoverProblem& problem_;
  const RecoverOptions& options_;
  int inner_;
  bool sketched_;
  std::int64_t m_, d_;
  double spread_first_ = 0.0, spread_second_ = 0.0;
  TwoLayers w_;
  std::optional<CountSketch> sketch_;
};

}  // namespace

Recovery solve_iht_outputs(const RecoverProblem& problem, const RecoverOptions& options,
                           const RecoverProgress& progress) {
  return OutputsSolver(problem, options, 0).run(progress);
}

Recovery solve_aiht_outputs(const RecoverProblem& problem, const RecoverOptions& options,
                            const RecoverProgress& progress) {
  return OutputsSolver(problem, options, kInnerSteps).run(progress);
}

Recovery solve_htp_outputs(const RecoverProblem& problem, const RecoverOptions& options,
                           const RecoverProgress& progress) {
  return OutputsSolver(problem, options, kPursuitSteps).run(progress);
}

}  // namespace tulle
