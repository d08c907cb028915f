#include <algorithm>

#include "tulle/train/gradient_sum.h"
#include "tulle/train/mode_two_phases.h"

namespace tulle {
namespace {

// While workers learn together, a step is the mean gradient of one batch from each: that of `sync` on batches
// drawn from the shards.
class Wassp final : public TwoPhases {
 public:
  explicit Wassp(const Ranks& ranks) : TwoPhases(ranks), sum_(ranks) {}

 private:
  std::int64_t samples_of(std::int64_t index, std::int64_t shard) const {
    const std::int64_t batch = ranks().run().config.train.batch_size;
    return std::clamp<std::int64_t>(shard - index * batch, 0, batch);
  }

  std::int64_t shared_batches() const override {
    const std::int64_t batch = ranks().run().config.train.batch_size;
    const std::vector<std::int64_t> sizes = shard_sizes();
    return ranks().run().config.train.last_batch == "keep" ? (std::ranges::max(sizes) + batch - 1) / batch
                                                           : std::ranges::min(sizes) / batch;
  }

  void start_shared_epoch(std::int64_t epoch) override {
    own().start_epoch(static_cast<int>(epoch), /*shuffled=*/true);
  }

  Step shared_gradients() override {
    const TrainingState& state = ranks().run().state;
    std::int64_t samples = 0;
    for (const std::int64_t shard : shard_sizes()) samples += samples_of(state.batch_in_epoch, shard);
    sum_.start(samples, 1);
    Batch batch;
    if (state.batch_in_epoch < own().batches()) batch = ranks().replica.get(own(), state.batch_in_epoch);
    sum_.add(batch, {.training = true,
                     .seed = ranks().run().model.seed,
                     .step = static_cast<std::uint32_t>(state.step),
                     .worker = static_cast<std::uint32_t>(ranks().comm.rank())});
    return sum_.finish();
  }

  bool shared_stop_asked() const override { return sum_.stop_asked(); }

  GradientSum sum_;
};

}  // namespace

std::unique_ptr<Mode> make_wassp(const Ranks& ranks) { return std::make_unique<Wassp>(ranks); }

}  // namespace tulle
