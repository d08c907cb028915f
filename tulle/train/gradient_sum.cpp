#include "tulle/train/gradient_sum.h"

#include <algorithm>
#include <bit>

#include "tulle/base/clock.h"
#include "tulle/base/parallel.h"
#include "tulle/comm/collectives.h"

namespace tulle {
namespace {

// to = from + to: the earlier shard stands first, as in the tree.
void add_before(std::span<const float> from, std::span<float> to) {
  parallel_ranges(std::ssize(to), kGrain, [&](Range range) {
    float* __restrict sum = to.data();
    const float* __restrict more = from.data();
    for (std::int64_t i = range.begin; i < range.end; ++i) sum[i] = more[i] + sum[i];
  });
}

void scale(std::span<float> values, float factor) {
  if (factor == 1.0f) return;
  parallel_ranges(std::ssize(values), kGrain, [&](Range range) {
    for (std::int64_t i = range.begin; i < range.end; ++i) values[static_cast<std::size_t>(i)] *= factor;
  });
}

struct StepCounts {
  double loss = 0.0;
  std::int64_t correct = 0;
  bool stop = false;

  StepCounts operator+(const StepCounts& other) const {
    return {loss + other.loss, correct + other.correct, stop || other.stop};
  }
};

}  // namespace

void GradientSum::start(std::int64_t samples, int shards) {
  samples_ = samples;
  shards_ = shards;
  done_ = 0;
  losses_.clear();
  correct_ = 0;
  const auto depth = static_cast<std::size_t>(std::bit_width(static_cast<unsigned>(shards) - 1));
  if (levels_.size() < depth) levels_.resize(depth);
}

// The sum so far of all shards but the last: a carry climbs over full levels, as in a binary counter.
void GradientSum::keep(Parameter& parameter, std::size_t index) {
  const auto level = static_cast<std::size_t>(std::countr_one(static_cast<unsigned>(done_)));
  for (std::size_t l = 0; l < level; ++l) add_before(levels_[l][index], parameter.gradient);
  levels_[level].resize(std::max(levels_[level].size(), index + 1));
  levels_[level][index] = parameter.gradient;
}

// With the last shard all levels that are full come together, and go out.
void GradientSum::complete(Parameter& parameter, std::size_t index) {
  for (std::size_t l = 0; l < levels_.size(); ++l)
    if ((static_cast<unsigned>(done_) >> l & 1) != 0) add_before(levels_[l][index], parameter.gradient);
  exchange_.start(parameter.gradient);
}

void GradientSum::add(const Batch& batch, const Pass& pass) {
  Network& network = ranks_.replica.network();
  const std::vector<Parameter*> parameters = network.parameters();
  const float share = static_cast<float>(batch.inputs.batch) / static_cast<float>(samples_);
  const bool last = done_ + 1 == shards_;
  std::size_t below = parameters.size();  // of this number and more the gradients are done with
  const auto take_from = [&](std::size_t first) {
    for (std::size_t index = first; index < below; ++index) {
      scale(parameters[index]->gradient, share);
      last ? complete(*parameters[index], index) : keep(*parameters[index], index);
    }
    below = first;
  };
  std::vector<std::size_t> firsts{0};  // number of each layer's first parameter
  for (std::size_t l = 0; l < network.size(); ++l)
    firsts.push_back(firsts.back() + network.layer(l).parameters().size());
  LossResult loss;
  if (batch.inputs.batch > 0) {
    loss = ranks_.replica.learn(batch, pass, [&](std::size_t layer) { take_from(firsts[layer]); });
    take_from(0);  // where layers do not follow each other, all at the end
  } else {
    for (Parameter* parameter : parameters) std::ranges::fill(parameter->gradient, 0.0f);
    for (std::size_t l = network.size(); l-- > 0;) take_from(firsts[l]);
  }
  losses_.push_back(loss.loss_sum);
  correct_ += loss.correct;
  ++done_;
}

Step GradientSum::finish() {
  const Clock clock;
  const StepCounts own{tree_sum(losses_), correct_, ranks_.signals.stop.load()};
  const StepCounts all = tree_sum(gather_all(ranks_.comm, own));
  own_part_ ? exchange_.finish_own() : exchange_.finish();
  ranks_.replica.phases.exchange += clock.seconds();
  stop_asked_ = all.stop;
  return {.loss = {.loss_sum = all.loss, .correct = all.correct}, .samples = samples_};
}

}  // namespace tulle
