#include <algorithm>

#include "tulle/base/parallel.h"
#include "tulle/train/gradient_sum.h"

namespace tulle {
namespace {

// Each batch is cut into shards, dealt out to the ranks in order. Weights are the same on all of them after
// every step, so topology events need no messages: every rank finds the same one.
class Sync final : public Mode {
 public:
  explicit Sync(const Ranks& ranks)
      : Mode(ranks),
        loader_(ranks.replica.make_loader()),
        sum_(ranks),
        shards_(std::max(static_cast<int>(ranks.config().virtual_shards), ranks.comm.size())) {}

  std::int64_t batches(std::int64_t) const override { return loader_.batches(); }
  void start_epoch(std::int64_t epoch) override {
    loader_.start_epoch(static_cast<int>(epoch), /*shuffled=*/true);
  }

  Step gradients(bool) override {
    const Run& run = ranks().run();
    const std::int64_t index = run.state.batch_in_epoch;
    const Range own = even_range(shards_, ranks().comm.size(), ranks().comm.rank());
    sum_.start(loader_.samples_of(index), static_cast<int>(own.end - own.begin));
    for (auto shard = static_cast<int>(own.begin); shard < own.end; ++shard) {
      const Batch batch = ranks().replica.get(loader_, index, {shard, shards_});
      sum_.add(batch, {.training = true,
                       .seed = run.model.seed,
                       .step = static_cast<std::uint32_t>(run.state.step),
                       .first_position = batch.first_position});
    }
    return sum_.finish();
  }

  bool stop_asked() const override { return sum_.stop_asked(); }

 private:
  Loader loader_;
  GradientSum sum_;
  int shards_;
};

}  // namespace

std::unique_ptr<Mode> make_sync(const Ranks& ranks) { return std::make_unique<Sync>(ranks); }

}  // namespace tulle
