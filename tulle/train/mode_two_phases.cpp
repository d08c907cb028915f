#include "tulle/train/mode_two_phases.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tulle/base/check.h"
#include "tulle/base/parallel.h"
#include "tulle/comm/collectives.h"
#include "tulle/comm/long_phase.h"

namespace tulle {
namespace {

Shard shard_of(const Ranks& ranks) {
  return {.worker = ranks.comm.rank(),
          .workers = ranks.comm.size(),
          .cut = ranks.config().shard == "contiguous" ? Shard::Cut::kContiguous : Shard::Cut::kShuffled};
}

// A replica as bytes: for each layer its pattern's keys, then every parameter, each with its length.
class Packed {
 public:
  template <class T>
  void put(std::span<const T> values) {
    const std::uint64_t count = values.size();
    append(std::as_bytes(std::span(&count, 1)));
    append(std::as_bytes(values));
  }
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  void append(std::span<const std::byte> more) { bytes_.insert(bytes_.end(), more.begin(), more.end()); }
  std::vector<std::byte> bytes_;
};

class Unpacked {
 public:
  explicit Unpacked(std::span<const std::byte> bytes) : bytes_(bytes) {}
  template <class T>
  std::vector<T> take() {
    std::uint64_t count = 0;
    copy(&count, sizeof count);
    std::vector<T> values(count);
    copy(values.data(), count * sizeof(T));
    return values;
  }

 private:
  void copy(void* to, std::size_t count) {
    require(count <= bytes_.size(), "a replica was cut off on its way");
    if (count > 0) std::memcpy(to, bytes_.data(), count);
    bytes_ = bytes_.subspan(count);
  }
  std::span<const std::byte> bytes_;
};

Packed packed(Network& network) {
  Packed pack;
  for (std::size_t l = 0; l < network.size(); ++l) {
    Layer& layer = network.layer(l);
    if (layer.topology() != nullptr) pack.put<std::uint64_t>(layer.topology()->keys());
    for (const Parameter* parameter : layer.parameters()) pack.put<float>(parameter->value);
  }
  return pack;
}

void forget_steps(Parameter& parameter) {
  for (AlignedVector<float>* state : {&parameter.m1, &parameter.m2}) std::ranges::fill(*state, 0.0f);
  std::ranges::fill(parameter.age, std::uint16_t{0});
}

}  // namespace

void put_into(SparseLayer& layer, LayerWeights weights) {
  TopologyUpdate update{std::move(weights.topology), {}};
  update.source.assign(weights.values.size(), TopologyUpdate::kGrown);
  layer.replace(update, weights.values);
}

TwoPhases::TwoPhases(const Ranks& ranks)
    : Mode(ranks),
      own_(ranks.replica.make_loader(shard_of(ranks))),
      parting_(std::llround(
          std::ceil(ranks.config().phase1 * static_cast<double>(ranks.run().config.train.epochs) - 1e-9))) {}

Loader TwoPhases::make_own_loader(const Replica& replica) const {
  return replica.make_loader(shard_of(ranks()));
}

std::vector<std::int64_t> TwoPhases::shard_sizes() const {
  std::vector<std::int64_t> sizes;
  for (int worker = 0; worker < ranks().comm.size(); ++worker) {
    const Range part = even_range(ranks().replica.data().train.inputs.samples, ranks().comm.size(), worker);
    sizes.push_back(part.end - part.begin);
  }
  return sizes;
}

void TwoPhases::part() {
  end_sharing(/*stopped=*/false);
  together_ = false;
  Network& network = ranks().replica.network();
  for (std::size_t l = 0; l < network.size(); ++l) connections_.push_back(network.layer(l).connections());
}

void TwoPhases::start_epoch(std::int64_t epoch) {
  if (together_ && epoch >= parting_ && !stop_asked()) part();
  if (together_) return start_shared_epoch(epoch);
  alone_.emplace(ranks().comm, LongPhase::Of::kAlike);
  own_.start_epoch(static_cast<int>(epoch), /*shuffled=*/true);
}

Step TwoPhases::gradients(bool whole) {
  if (together_) return shared_gradients();
  Replica& replica = ranks().replica;
  const TrainingState& state = ranks().run().state;
  const Batch batch = replica.get(own_, state.batch_in_epoch, {}, whole);
  const Pass pass{.training = true,
                  .seed = ranks().run().model.seed,
                  .step = static_cast<std::uint32_t>(state.step),
                  .worker = static_cast<std::uint32_t>(ranks().comm.rank())};
  return {.loss = replica.learn(batch, pass), .samples = batch.inputs.batch};
}

// Worker 0 draws as a training without workers would.
std::uint64_t TwoPhases::event_seed() const {
  const auto worker = together_ ? 0u : static_cast<std::uint64_t>(ranks().comm.rank());
  return ranks().run().model.seed + worker * 0x9e3779b97f4a7c15u;
}

// Replicas that learn alone still wait for each other once an epoch: that all are there, and want to go on.
// A slower one may take ten times as long as this one.
bool TwoPhases::meet(bool go_on) {
  if (together_) return shared_meet(go_on);
  const bool all = Mode::meet(go_on);
  alone_.reset();
  stopped_together_ = !all;
  return all;
}

void TwoPhases::end(bool finished) {
  if (together_ && finished && parting_ >= ranks().run().config.train.epochs)
    end_sharing(/*stopped=*/false);
  else if (together_)
    end_sharing(/*stopped=*/true);
  else if (finished)
    average_replicas();
  else if (!stopped_together_) {
    const LongPhase phase(ranks().comm, LongPhase::Of::kAllRanks);
    meet(false);  // the others hear of it at the end of their epoch
  }
}

void TwoPhases::average_replicas() {
  Communicator& comm = ranks().comm;
  Network& network = ranks().replica.network();
  const Packed own = packed(network);
  // One after the other, over a link of 10 MB a second.
  const LongPhase phase(comm, LongPhase::Of::kAllRanks,
                        1e-7 * static_cast<double>(own.bytes().size()) * comm.size());
  if (comm.rank() != 0) {
    const std::uint64_t length = own.bytes().size();
    send_now(comm, 0, std::as_bytes(std::span(&length, 1)));
    return send_now(comm, 0, own.bytes());
  }
  std::vector<std::vector<std::byte>> all{{own.bytes().begin(), own.bytes().end()}};
  for (int rank = 1; rank < comm.size(); ++rank) {
    std::uint64_t length = 0;
    receive_now(comm, rank, std::as_writable_bytes(std::span(&length, 1)));
    receive_now(comm, rank, all.emplace_back(length));
  }
  std::vector<Unpacked> packs(all.begin(), all.end());
  for (std::size_t l = 0; l < network.size(); ++l) {
    Layer& layer = network.layer(l);
    auto* const sparse = dynamic_cast<SparseLayer*>(&layer);
    const std::vector<Parameter*> parameters = layer.parameters();
    if (sparse != nullptr) {
      std::vector<LayerWeights> replicas;
      for (Unpacked& pack : packs) {
        const auto keys = pack.take<std::uint64_t>();
        replicas.push_back({Topology::from_keys(layer.outputs(), layer.inputs(), keys), pack.take<float>()});
      }
      put_into(*sparse,
               resparsified(average(replicas), connections_[l], ranks().config().resparsify == "published"));
    }
    for (std::size_t p = sparse != nullptr ? 1 : 0; p < parameters.size(); ++p) {
      std::vector<std::vector<float>> replicas;
      for (Unpacked& pack : packs) replicas.push_back(pack.take<float>());
      const std::vector<float> mean = average(replicas);
      std::ranges::copy(mean, parameters[p]->value.begin());
    }
    for (Parameter* parameter : parameters) forget_steps(*parameter);
  }
  together_ = true;
}

}  // namespace tulle
