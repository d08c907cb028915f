#include "tulle/train/modes.h"

namespace tulle {
namespace {

class Single final : public Mode {
 public:
  explicit Single(const Ranks& ranks) : Mode(ranks), loader_(ranks.replica.make_loader()) {}

  std::int64_t batches(std::int64_t) const override { return loader_.batches(); }
  void start_epoch(std::int64_t epoch) override {
    loader_.start_epoch(static_cast<int>(epoch), /*shuffled=*/true);
  }

  Step gradients(bool whole) override {
    Replica& replica = ranks().replica;
    const Run& run = ranks().run();
    const Batch batch = replica.get(loader_, run.state.batch_in_epoch, {}, whole);
    const Pass pass{
        .training = true, .seed = run.model.seed, .step = static_cast<std::uint32_t>(run.state.step)};
    return {.loss = replica.learn(batch, pass), .samples = batch.inputs.batch};
  }

  bool sees_whole_batch() const override { return true; }
  bool stop_asked() const override { return ranks().signals.stop; }

 private:
  Loader loader_;
};

}  // namespace

std::unique_ptr<Mode> make_single(const Ranks& ranks) { return std::make_unique<Single>(ranks); }

}  // namespace tulle
