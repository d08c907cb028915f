#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <limits>
#include <map>
#include <thread>

#include "tulle/base/clock.h"
#include "tulle/base/error.h"
#include "tulle/base/parallel.h"
#include "tulle/comm/collectives.h"
#include "tulle/comm/threads.h"
#include "tulle/sparse/pattern_change.h"
#include "tulle/train/build.h"
#include "tulle/train/late_gradient.h"
#include "tulle/train/mode_two_phases.h"

namespace tulle {
namespace {

// From the server to a worker; then, if neurons were eliminated, a flag for each that the worker knows; if
// patterns changed, the change of every sparse layer's; and the values of every parameter. After the last one
// the optimizer's state follows.
struct ModelHeader {
  enum class Kind : std::int64_t { kLearn, kPart, kStop } kind = Kind::kLearn;
  std::int64_t step = 0, epoch = 0;
  std::int32_t changed = 0;     // whether patterns did
  std::int32_t eliminated = 0;  // whether neurons were
};

// From a worker to the server; then the gradient of every parameter, at the pattern the worker knows.
struct GradientHeader {
  std::int64_t step = 0;  // of the model it was computed from
  double loss = 0.0;
  std::int64_t correct = 0, samples = 0;
};

template <class T>
std::span<std::byte> bytes_of(T& value) {
  return std::as_writable_bytes(std::span(&value, 1));
}

bool any_gone(const Alive& alive) {
  return std::ranges::any_of(alive,
                             [](const auto& flags) { return std::ranges::find(flags, 0) != flags.end(); });
}

// body(array) for what an optimizer keeps of every parameter, as bytes.
template <class Body>
void for_states(Network& network, const Body& body) {
  for (Parameter* parameter : network.parameters()) {
    body(std::as_writable_bytes(std::span(parameter->m1)));
    body(std::as_writable_bytes(std::span(parameter->m2)));
    body(std::as_writable_bytes(std::span(parameter->age)));
  }
}

/// A worker of the first phase: a replica that computes one gradient after the other for rank 0 of `comm`,
/// each from the newest model it is given, until it is told to part or to stop.
class Worker {
 public:
  Worker(Replica& replica, Loader& loader, Communicator& comm, int number, int workers)
      : replica_(replica),
        loader_(loader),
        comm_(comm),
        number_(number),
        evolution_(evolution_of(replica.run().config)) {
    // Where a training that goes on left off: every worker has done its turn.
    const std::int64_t step = replica.run().state.step;
    done_ = step / workers + (number < step % workers ? 1 : 0);
  }

  ModelHeader::Kind work() {
    for (;;) {
      const ModelHeader header = take_model();
      if (header.kind != ModelHeader::Kind::kLearn) return header.kind;
      send_gradient(header.step);
    }
  }

 private:
  ModelHeader take_model() {
    ModelHeader header;
    receive_now(comm_, 0, bytes_of(header));
    Network& network = replica_.network();
    if (header.eliminated != 0) {
      Alive alive = all_alive(network);
      for (std::vector<std::uint8_t>& flags : alive)
        receive_now(comm_, 0, std::as_writable_bytes(std::span(flags)));
      network = without_neurons(network, alive);
    }
    for (std::size_t l = 0; header.changed != 0 && l < network.size(); ++l) {
      auto* const layer = dynamic_cast<SparseLayer*>(&network.layer(l));
      if (layer == nullptr) continue;
      std::uint64_t length = 0;
      receive_now(comm_, 0, bytes_of(length));
      std::vector<std::byte> change(length);
      receive_now(comm_, 0, change);
      Topology pattern = changed_pattern(*layer->topology(), change,
                                         grow_draw(evolution_, replica_.run().model.seed, /*step=*/0, l));
      std::vector<float> values(static_cast<std::size_t>(pattern.nnz()));  // the server's follow
      put_into(*layer, {std::move(pattern), std::move(values)});
    }
    for (Parameter* parameter : network.parameters())
      receive_now(comm_, 0, std::as_writable_bytes(std::span(parameter->value)));
    if (header.kind == ModelHeader::Kind::kLearn) return header;
    for_states(network, [&](std::span<std::byte> state) { receive_now(comm_, 0, state); });
    TrainingState& state = replica_.run().state;
    state.step = header.step;
    state.epoch = header.epoch;
    state.batch_in_epoch = 0;
    return header;
  }

  void send_gradient(std::int64_t step) {
    const std::int64_t batches = loader_.batches(), index = done_ % batches;
    if (index == 0 || !started_) loader_.start_epoch(static_cast<int>(done_ / batches), /*shuffled=*/true);
    started_ = true;
    const Batch batch = replica_.get(loader_, index);
    // Alone it draws what a training without workers would.
    const LossResult loss = replica_.learn(batch, {.training = true,
                                                   .seed = replica_.run().model.seed,
                                                   .step = static_cast<std::uint32_t>(step),
                                                   .worker = static_cast<std::uint32_t>(number_)});
    ++done_;
    GradientHeader header{step, loss.loss_sum, loss.correct, batch.inputs.batch};
    send_now(comm_, 0, bytes_of(header));
    for (const Parameter* parameter : replica_.network().parameters())
      send_now(comm_, 0, std::as_bytes(std::span(parameter->gradient)));
  }

  Replica& replica_;
  Loader& loader_;
  Communicator& comm_;
  int number_;
  Evolution evolution_;
  std::int64_t done_;
  bool started_ = false;
};

// Rank 0 is the server; it also has worker 0, on a thread of its own.
class Wasap final : public TwoPhases {
 public:
  explicit Wasap(const Ranks& ranks) : TwoPhases(ranks), evolution_(evolution_of(ranks.run().config)) {}
  ~Wasap() override {
    if (helper_.joinable()) pair_[0]->give_up(0);  // the server goes with an exception
  }

  void begin() override {
    if (ranks().run().state.epoch >= parting()) return;
    if (ranks().comm.rank() != 0) {
      Worker worker(ranks().replica, own(), ranks().comm, ranks().comm.rank(), ranks().comm.size());
      stopped_ = worker.work() == ModelHeader::Kind::kStop;
      return;
    }
    start_helper();
    links_.push_back({pair_[0].get(), 1});
    for (int rank = 1; rank < ranks().comm.size(); ++rank) links_.push_back({&ranks().comm, rank});
    known_[version_] = known_layers(ranks().replica.network());
    turn_ = ranks().run().state.step;
  }

  bool alike() const override { return false; }  // the server alone has steps to take
  bool is_waited_for() const override { return !links_.empty(); }

  void topology_changed(std::span<const LayerEvolution> events) override {
    if (links_.empty()) return;
    Network& network = ranks().replica.network();
    std::vector<KnownLayer>& before = known_[version_];
    known_[++version_] = known_layers(network);
    changes_.clear();
    for (const LayerEvolution& event : events)
      if (!evolution_.grow->needs_errors)
        changes_[event.layer] = pattern_change(
            before[event.layer].pattern, *network.layer(event.layer).topology(), event.grown_cells,
            grow_draw(evolution_, event_seed(), static_cast<std::uint32_t>(ranks().run().state.step),
                      event.layer));
    const auto oldest =
        std::ranges::min_element(links_, {}, [](const Link& link) { return link.version; })->version;
    known_.erase(known_.begin(), known_.lower_bound(oldest));
  }

  std::optional<ParallelRecord> record() override {
    if (steps_ == 0) return std::nullopt;
    ParallelRecord record{.staleness_mean = staleness_sum_ / static_cast<double>(steps_),
                          .staleness_max = staleness_max_,
                          .discarded = discarded_};
    steps_ = 0, staleness_sum_ = 0.0, staleness_max_ = 0, discarded_ = 0;
    return record;
  }

 private:
  struct Link {
    Communicator* comm;
    int peer;
    bool owed = true;  // whether it waits for a model
    int version = 0;   // of the layers it knows
    GradientHeader header{};
    std::vector<std::vector<float>> gradients{};  // of every parameter, at those layers
    std::vector<std::vector<std::byte>> model{};  // messages on their way to it
    Communicator::Transfers coming{}, going{};
    std::int64_t open = 0;  // transfers that were not done at the last look
    double silent = 0.0;    // seconds without any of them getting done
    Clock looked{};         // since the last look
  };

  // Why worker 0 gave up says more than that it did.
  template <class Body>
  decltype(auto) with_helper(const Body& body) {
    try {
      return body();
    } catch (const Error&) {
      const bool came_first = helper_failed_;
      pair_[0]->give_up(0);
      helper_.join();
      if (came_first) std::rethrow_exception(helper_failure_);
      throw;
    }
  }

  void start_helper() {
    pair_ = thread_group(2);
    pair_[0]->set_time_limit(ranks().comm.time_limit());
    // The server may be long at a save or an event; being of this process, it tells when it goes.
    pair_[1]->set_time_limit(std::numeric_limits<double>::infinity());
    helper_run_ = copy_of(ranks().run());
    const int threads = thread_count();
    helper_ = std::jthread([this, threads] {
      const OwnThreads own_threads(threads);
      try {
        Replica replica(*helper_run_, ranks().replica.data());
        Loader loader = make_own_loader(replica);
        Worker(replica, loader, *pair_[1], 0, ranks().comm.size()).work();
      } catch (...) {
        helper_failure_ = std::current_exception();
        helper_failed_ = true;
        pair_[1]->give_up(0);
      }
    });
  }

  std::int64_t shared_batches() const override {
    const Config::Train& t = ranks().run().config.train;
    std::int64_t batches = 0;
    for (const std::int64_t shard : shard_sizes())
      batches += (shard + (t.last_batch == "keep" ? t.batch_size - 1 : 0)) / t.batch_size;
    return batches;
  }
  void start_shared_epoch(std::int64_t) override {}
  bool shared_stop_asked() const override {
    return stopped_ || (ranks().comm.rank() == 0 && ranks().signals.stop);
  }

  bool shared_meet(bool go_on) override { return go_on; }  // workers hear of it from the server

  Step shared_gradients() override {
    const Clock clock;
    const Step step = next_gradient();
    ranks().replica.phases.exchange += clock.seconds();
    return step;
  }

  Step next_gradient() {
    const Config::Parallel& config = ranks().config();
    for (;;) {
      Link& link = with_helper([this]() -> Link& {
        for (Link& waiting : links_)
          if (waiting.owed) send_model(waiting, ModelHeader::Kind::kLearn);
        Link& next = next_link();
        wait_all(next, next.coming);
        return next;
      });
      link.owed = true;
      const std::int64_t staleness = ranks().run().state.step - link.header.step;
      if (config.max_staleness >= 0 && staleness > config.max_staleness) {
        ++discarded_;
        continue;
      }
      ++steps_;
      staleness_sum_ += static_cast<double>(staleness);
      staleness_max_ = std::max(staleness_max_, staleness);
      put(link);
      return {.loss = {.loss_sum = link.header.loss, .correct = link.header.correct},
              .samples = link.header.samples,
              .rate_factor = config.staleness_lr ? 1.0 / (1.0 + static_cast<double>(staleness)) : 1.0};
    }
  }

  // The model as it is now, on its way to a worker: the server goes on at once, also over slow links.
  void send_model(Link& link, ModelHeader::Kind kind) {
    Network& network = ranks().replica.network();
    const TrainingState& state = ranks().run().state;
    wait_all(link, link.going);  // long since there: an answer came
    link.model.clear();
    const auto add = [&](std::span<const std::byte> bytes) {
      link.model.emplace_back(bytes.begin(), bytes.end());
    };
    ModelHeader header{kind, state.step, state.epoch, link.version != version_};
    const std::vector<KnownLayer>& known = known_.at(link.version);
    const Alive alive = header.changed != 0 ? still_alive(known, network) : Alive{};
    header.eliminated = any_gone(alive);
    add(bytes_of(header));
    if (header.eliminated != 0)
      for (const std::vector<std::uint8_t>& flags : alive) add(std::as_bytes(std::span(flags)));
    for (std::size_t l = 0; header.changed != 0 && l < network.size(); ++l) {
      const Layer& layer = network.layer(l);
      if (layer.topology() == nullptr) continue;
      const std::vector<std::uint8_t> inputs(static_cast<std::size_t>(network.inputs()), std::uint8_t{1});
      KeptConnections kept = kept_connections(&known[l].pattern, alive[l], l == 0 ? inputs : alive[l - 1]);
      const std::vector<std::byte> change = change_of(
          l, Topology(layer.outputs(), layer.inputs(), std::move(kept.row_ptr), std::move(kept.columns)));
      std::uint64_t length = change.size();
      add(bytes_of(length));
      add(change);
    }
    for (const Parameter* parameter : network.parameters()) add(std::as_bytes(std::span(parameter->value)));
    if (kind != ModelHeader::Kind::kLearn)
      for_states(network, [&](std::span<std::byte> state_of) { add(state_of); });
    for (const std::vector<std::byte>& message : link.model)
      link.going.push_back(link.comm->send(link.peer, message));
    link.version = version_;
    link.owed = false;
    if (kind != ModelHeader::Kind::kLearn) return;
    link.coming.push_back(link.comm->receive(link.peer, bytes_of(link.header)));
    link.open = std::numeric_limits<std::int64_t>::max();
    link.gradients.resize(network.parameters().size());
    auto gradient = link.gradients.begin();
    for (const Parameter* parameter : network.parameters()) {
      gradient->resize(parameter->value.size());
      link.coming.push_back(link.comm->receive(link.peer, std::as_writable_bytes(std::span(*gradient++))));
    }
  }

  // How the layer changed for a worker that knows it as `from`: what it lacks is the last event alone, unless
  // it is slow.
  std::vector<std::byte> change_of(std::size_t l, const Topology& from) const {
    const auto last = changes_.find(l);
    if (last != changes_.end() && from == known_.at(version_ - 1)[l].pattern) return last->second;
    return pattern_change(from, *ranks().replica.network().layer(l).topology());
  }

  void wait_all(const Link& link, Communicator::Transfers& transfers) {
    for (const auto& transfer : transfers) link.comm->wait(*transfer, link.peer);
    transfers.clear();
  }

  // The link whose gradient is next; waits for it.
  Link& next_link() {
    const auto next = [this]() -> Link& { return links_[static_cast<std::size_t>(turn_++) % links_.size()]; };
    if (ranks().config().order == "round-robin") return next();
    for (Patience patience(std::numeric_limits<double>::infinity());; patience.pause())
      for (std::size_t i = 0; i < links_.size(); ++i)
        if (Link& link = next(); is_there(link)) return link;
  }

  // Whether the link's gradient is. However busy others keep the server, it notices a worker that hangs.
  bool is_there(Link& link) const {
    constexpr double kAway = 1.0;  // messages may have moved only while the server looks: no more counts
    const auto is_open = [](const auto& transfer) { return !transfer->done(); };
    const auto coming = std::ranges::count_if(link.coming, is_open);
    if (coming == 0) return true;
    const std::int64_t open = coming + std::ranges::count_if(link.going, is_open);
    link.silent = open < link.open ? 0.0 : link.silent + std::min(link.looked.seconds(), kAway);
    link.open = open;
    link.looked.restart();
    if (link.silent <= ranks().comm.time_limit()) return false;
    throw Error(ErrorKind::kTemporary,
                fmt::format("rank 0: found no message from worker {} for {:.1f} s, expected one within "
                            "parallel.timeout",
                            &link - links_.data(), link.silent));
  }

  // The link's gradient into the network's.
  void put(Link& link) {
    Network& network = ranks().replica.network();
    if (link.version != version_) return put_late(known_.at(link.version), link.gradients, network);
    const std::vector<Parameter*> parameters = network.parameters();
    for (std::size_t p = 0; p < parameters.size(); ++p)
      std::ranges::copy(link.gradients[p], parameters[p]->gradient.begin());
  }

  void end_sharing(bool stopped) override {
    if (links_.empty()) return;
    with_helper([&] {
      for (Link& link : links_) {
        wait_all(link, link.coming);  // what is still at work comes too late
        send_model(link, stopped ? ModelHeader::Kind::kStop : ModelHeader::Kind::kPart);
        wait_all(link, link.going);
      }
    });
    links_.clear();
    helper_.join();
    helper_run_.reset();
  }

  std::vector<std::unique_ptr<Communicator>> pair_;  // server and worker 0
  std::optional<Run> helper_run_;
  std::exception_ptr helper_failure_;
  std::atomic<bool> helper_failed_{false};
  std::vector<Link> links_;
  std::map<int, std::vector<KnownLayer>> known_;  // by version, as far back as a worker knows it
  int version_ = 0;
  const Evolution evolution_;
  std::map<std::size_t, std::vector<std::byte>> changes_;  // of layers, by the last event
  std::int64_t turn_ = 0;
  bool stopped_ = false;
  std::int64_t steps_ = 0, staleness_max_ = 0, discarded_ = 0;
  double staleness_sum_ = 0.0;
  std::jthread helper_;  // the first to go
};

}  // namespace

std::unique_ptr<Mode> make_wasap(const Ranks& ranks) { return std::make_unique<Wasap>(ranks); }

}  // namespace tulle
