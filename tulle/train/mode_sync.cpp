#include <algorithm>
#include <utility>

#include "tulle/base/parallel.h"
#include "tulle/train/build.h"
#include "tulle/train/gradient_sum.h"

namespace tulle {
namespace {

// Which arrays the optimizer keeps of a parameter: a part of one may be empty.
struct KeptState {
  bool m1, m2, age;

  explicit KeptState(const Parameter& whole)
      : m1(!whole.m1.empty()), m2(!whole.m2.empty()), age(!whole.age.empty()) {}

  /// body(array) for each of them.
  template <class Body>
  void for_each(Parameter& parameter, const Body& body) const {
    if (m1) body(parameter.m1);
    if (m2) body(parameter.m2);
    if (age) body(parameter.age);
  }
};

// Each batch is cut into shards, dealt out to the ranks in order. Weights are the same on all of them after
// every step, so topology events need no messages: every rank finds the same one.
//
// With parallel.shard_momentum each rank keeps what the optimizer keeps for its part of every array alone:
// gradients are summed no further than to the part's owner, who takes the step and sends the values. That is
// the traffic of the sum of whole gradients, and its bits. Source: ZeRO, arXiv 1910.02054, stages 1 and 2.
class Sync final : public Mode {
 public:
  explicit Sync(const Ranks& ranks)
      : Mode(ranks),
        loader_(ranks.replica.make_loader()),
        shares_state_(ranks.config().shard_momentum && ranks.comm.size() > 1),
        sum_(ranks, shares_state_ && !needs_whole_gradients(ranks.run().config)),
        parts_(ranks.comm),
        shards_(std::max(static_cast<int>(ranks.config().virtual_shards), ranks.comm.size())) {
    if (ranks.comm.size() > 1) share_batches(&ranks.comm);
  }
  ~Sync() override { share_batches(nullptr); }

  std::int64_t batches(std::int64_t) const override { return loader_.batches(); }
  void start_epoch(std::int64_t epoch) override {
    loader_.start_epoch(static_cast<int>(epoch), /*shuffled=*/true);
  }

  Step gradients(bool) override {
    if (shares_state_ && state_is_whole_) keep_own_state();
    const Run& run = ranks().run();
    const std::int64_t index = run.state.batch_in_epoch;
    const Range own = even_range(shards_, ranks().comm.size(), ranks().comm.rank());
    sum_.start(loader_.samples_of(index), static_cast<int>(own.end - own.begin));
    for (auto shard = static_cast<int>(own.begin); shard < own.end; ++shard) {
      const Batch batch =
          ranks().replica.get(loader_, index, part_of_batch(ranks().run().config, shard, shards_));
      sum_.add(batch, {.training = true,
                       .seed = run.model.seed,
                       .step = static_cast<std::uint32_t>(run.state.step),
                       .first_position = batch.first_position});
    }
    return sum_.finish();
  }

  // A network without some of its neurons has norms of its own.
  void topology_changed(std::span<const LayerEvolution>) override {
    if (ranks().comm.size() > 1) share_batches(&ranks().comm);
  }

  void step(double rate) override { ranks().replica.step(rate, shares_state_ ? &parts_ : nullptr); }

  bool shares_state() const override { return shares_state_; }

  // Where state is whole there is no exchange: its memory makes room.
  void gather_state() override {
    if (state_is_whole_) return;
    sum_.release();
    const std::vector<Parameter*> parameters = ranks().replica.network().parameters();
    for (std::size_t p = 0; p < parameters.size(); ++p) {
      Parameter* const parameter = parameters[p];
      kept_[p].for_each(*parameter, [&](auto& state) {
        const auto place = static_cast<std::ptrdiff_t>(parameter->state_begin);
        std::remove_reference_t<decltype(state)> whole(parameter->value.size());
        std::ranges::copy(state, whole.begin() + place);
        state = std::move(whole);
        parts_.start(std::span(state));
      });
      parameter->state_begin = 0;
    }
    parts_.finish();
    state_is_whole_ = true;
  }

  void end(bool) override { gather_state(); }

  bool stop_asked() const override { return sum_.stop_asked(); }

 private:
  void share_batches(Communicator* comm) {
    if (Architecture* const net = ranks().replica.network().architecture(); net != nullptr)
      net->share_batches(comm);
  }

  static bool needs_whole_gradients(const Config& config) {
    const Evolution how = evolution_of(config);
    return config.train.clip_norm > 0.0 || (how.drop != nullptr && how.drop->needs_gradients);
  }

  void keep_own_state() {
    kept_.clear();
    for (Parameter* parameter : ranks().replica.network().parameters()) {
      const Range own = parts_.own(std::ssize(parameter->value));
      kept_.emplace_back(*parameter).for_each(*parameter, [&](auto& state) {
        state = std::remove_reference_t<decltype(state)>(state.begin() + own.begin, state.begin() + own.end);
      });
      parameter->state_begin = own.begin;
    }
    state_is_whole_ = false;
  }

  Loader loader_;
  bool shares_state_, state_is_whole_ = true;
  std::vector<KeptState> kept_;  // of each parameter, while ranks keep parts
  GradientSum sum_;
  PartExchange parts_;
  int shards_;
};

}  // namespace

std::unique_ptr<Mode> make_sync(const Ranks& ranks) { return std::make_unique<Sync>(ranks); }

}  // namespace tulle
