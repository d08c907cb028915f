#include <algorithm>

#include "tulle/comm/collectives.h"
#include "tulle/train/modes.h"

namespace tulle {
namespace {

// Every rank has the same batch and a part of every layer's neurons; the network itself joins the parts
// (nn/spread.h), so that a step is that of one process.
class Rows final : public Mode {
 public:
  explicit Rows(const Ranks& ranks) : Mode(ranks), loader_(ranks.replica.make_loader()) {}

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
    const Step step{.loss = replica.learn(batch, pass), .samples = batch.inputs.batch};
    const std::vector<char> stops = gather_all(ranks().comm, char{ranks().signals.stop});
    stop_asked_ = std::ranges::any_of(stops, [](char stop) { return stop != 0; });
    return step;
  }

  bool stop_asked() const override { return stop_asked_; }

 private:
  Loader loader_;
  bool stop_asked_ = false;
};

}  // namespace

std::unique_ptr<Mode> make_rows(const Ranks& ranks) { return std::make_unique<Rows>(ranks); }

}  // namespace tulle
