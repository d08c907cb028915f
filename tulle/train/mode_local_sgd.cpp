#include <algorithm>

#include "tulle/base/clock.h"
#include "tulle/base/parallel.h"
#include "tulle/comm/collectives.h"
#include "tulle/train/modes.h"

namespace tulle {
namespace {

struct RoundCounts {
  double loss = 0.0;
  std::int64_t correct = 0, samples = 0;
  bool stop = false;

  RoundCounts operator+(const RoundCounts& other) const {
    return {loss + other.loss, correct + other.correct, samples + other.samples, stop || other.stop};
  }
};

// Every rank takes steps from its part of each batch. After parallel.local_steps of them, and at the end of
// an epoch, with D the mean over the ranks of (value before - value now):
//   u <- mu u + D;  value <- value before - eta (D + mu u)
// The optimizer's own state is averaged too (in DiLoCo it stays with its rank): after that all ranks are the
// same, so that a checkpoint of one is that of all, for any number of ranks.
class LocalSgd final : public Mode {
 public:
  explicit LocalSgd(const Ranks& ranks)
      : Mode(ranks),
        loader_(ranks.replica.make_loader()),
        exchange_(ranks.comm, wire_of(ranks.config())),
        state_exchange_(ranks.comm, SumExchange::Wire::kFloat) {
    if (ranks.config().outer_momentum > 0.0)
      for (Parameter* parameter : ranks.replica.network().parameters())
        parameter->outer.resize(parameter->value.size(), 0.0f);
  }

  std::int64_t batches(std::int64_t) const override { return loader_.batches(); }
  void start_epoch(std::int64_t epoch) override {
    loader_.start_epoch(static_cast<int>(epoch), /*shuffled=*/true);
  }

  Step gradients(bool) override {
    Replica& replica = ranks().replica;
    const Run& run = ranks().run();
    const std::vector<Parameter*> parameters = replica.network().parameters();
    if (together_) {  // the topology may have changed since the last step
      round_.emplace(ranks().comm, LongPhase::Of::kAlike);
      moves_.resize(parameters.size());
      for (std::size_t p = 0; p < parameters.size(); ++p) moves_[p] = parameters[p]->value;
    }
    together_ = false;
    const Batch batch = replica.get(loader_, run.state.batch_in_epoch,
                                    part_of_batch(run.config, ranks().comm.rank(), ranks().comm.size()));
    LossResult loss;
    if (batch.inputs.batch > 0)
      loss = replica.learn(batch, {.training = true,
                                   .seed = run.model.seed,
                                   .step = static_cast<std::uint32_t>(run.state.step),
                                   .first_position = batch.first_position});
    else
      for (Parameter* parameter : parameters) std::ranges::fill(parameter->gradient, 0.0f);
    own_ = own_ + RoundCounts{loss.loss_sum, loss.correct, batch.inputs.batch};
    replica.check(loss);
    return {};  // the counts of all are known where they meet
  }

  Step stepped(bool epoch_done) override {
    if (!epoch_done && (ranks().run().state.step + 1) % ranks().config().local_steps != 0) return {};
    const Clock clock;
    const std::vector<Parameter*> parameters = ranks().replica.network().parameters();
    const float share = 1.0f / static_cast<float>(ranks().comm.size());
    for (std::size_t p = 0; p < parameters.size(); ++p) {
      // moves_ holds what was before until here; afterwards value does.
      for_each(parameters[p]->value, moves_[p], [share](float& value, float& move) {
        const float now = value;
        value = move;
        move = (move - now) * share;
      });
      exchange_.start(moves_[p]);
      for (AlignedVector<float>* state : {&parameters[p]->m1, &parameters[p]->m2}) {
        for_each(*state, *state, [share](float& entry, float&) { entry *= share; });
        state_exchange_.start(*state);
      }
    }
    // What a norm has measured meanwhile, each rank over its own batches: the mean.
    if (Architecture* const net = ranks().replica.network().architecture(); net != nullptr)
      for (const Statistic& statistic : net->statistics()) {
        for (float& entry : *statistic.value) entry *= share;
        state_exchange_.start(*statistic.value);
      }
    own_.stop = ranks().signals.stop;
    const RoundCounts all = tree_sum(gather_all(ranks().comm, own_));
    stop_asked_ = all.stop;
    own_ = {};
    exchange_.finish();
    state_exchange_.finish();
    const auto rate = static_cast<float>(ranks().config().outer_rate);
    const auto momentum = static_cast<float>(ranks().config().outer_momentum);
    for (std::size_t p = 0; p < parameters.size(); ++p) {
      if (momentum > 0.0f)
        for_each(parameters[p]->outer, moves_[p], [momentum](float& velocity, float& move) {
          velocity = momentum * velocity + move;
          move += momentum * velocity;
        });
      for_each(parameters[p]->value, moves_[p], [rate](float& value, float& move) { value -= rate * move; });
    }
    together_ = true;
    round_.reset();
    ranks().replica.phases.exchange += clock.seconds();
    return {.loss = {.loss_sum = all.loss, .correct = all.correct}, .samples = all.samples};
  }

  bool together() const override { return together_; }
  bool stop_asked() const override { return stop_asked_; }

 private:
  template <class Body>
  static void for_each(AlignedVector<float>& a, AlignedVector<float>& b, const Body& body) {
    parallel_ranges(std::ssize(a), kGrain, [&](Range range) {
      for (auto i = static_cast<std::size_t>(range.begin); i < static_cast<std::size_t>(range.end); ++i)
        body(a[i], b[i]);
    });
  }

  Loader loader_;
  std::vector<AlignedVector<float>> moves_;  // values when all were together, then how far they moved
  SumExchange exchange_, state_exchange_;    // after moves_, which they send: they must go first
  bool together_ = true, stop_asked_ = false;
  std::optional<LongPhase> round_;  // steps apart, until the ranks meet
  RoundCounts own_;
};

}  // namespace

std::unique_ptr<Mode> make_local_sgd(const Ranks& ranks) { return std::make_unique<LocalSgd>(ranks); }

}  // namespace tulle
