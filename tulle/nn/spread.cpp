#include "tulle/nn/spread.h"

#include <algorithm>

namespace tulle {
namespace {

constexpr std::int64_t kSpreadGrain = 4096;

// The lines of some neurons of one panel: they lie one after another.
template <class T>
std::span<T> lines(Panels<T> all, std::int32_t panel, Range neurons) {
  const auto width = static_cast<std::size_t>(all.width);
  return {all.panel(panel) + neurons.begin * all.width,
          static_cast<std::size_t>(neurons.end - neurons.begin) * width};
}

}  // namespace

Range Spread::neurons_of(std::size_t l, int rank) const {
  return even_range(layers_[l].neurons, share_.ranks, rank, layers_[l].grain);
}

RowShare Spread::row_share(std::size_t l) const {
  return {
      .comm = comm_, .first = static_cast<std::int32_t>(own_neurons(l).begin), .rows = layers_[l].neurons};
}

void Spread::send(int peer, std::span<const float> values) {
  if (!values.empty()) messages_.push_back({peer, comm_->send(peer, std::as_bytes(values))});
}

void Spread::receive(int peer, std::span<float> values) {
  if (!values.empty()) messages_.push_back({peer, comm_->receive(peer, std::as_writable_bytes(values))});
}

void Spread::wait() {
  for (Message& message : messages_) comm_->wait(*message.transfer, message.peer);
  messages_.clear();
}

Panels<const float> Spread::gather(std::size_t l, Panels<const float> own) {
  const bool last = l + 1 == layers_.size();
  const Panels<float> all = (last ? outputs_ : gathered_).view(layers_[l].neurons, own.batch, own.width);
  if (!last) held_ = l;
  const Range own_range = own_neurons(l), every{0, own.features};
  for (std::int32_t p = 0; p < own.count(); ++p) {
    for (int step = 1; step < share_.ranks; ++step) {
      const int peer = (share_.rank + step) % share_.ranks;
      receive(peer, lines(all, p, neurons_of(l, peer)));
      send(peer, lines(own, p, every));
    }
    std::ranges::copy(lines(own, p, every), lines(all, p, own_range).begin());
  }
  wait();
  return all;
}

Panels<const float> Spread::gather_again(std::size_t l, Panels<const float> own) {
  if (held_ != l) return gather(l, own);
  return gathered_.view(layers_[l].neurons, own.batch, own.width);
}

Panels<float> Spread::partial(std::size_t l, std::int32_t batch, int width) {
  return partial_.view(layers_[l].neurons, batch, width);
}

void Spread::sum(std::size_t l, Panels<const float> partial, Panels<float> own) {
  const Range own_range = own_neurons(l), every{0, own.features};
  // Nobody needs activations of this layer any more: in their memory are the errors from all ranks.
  held_.reset();
  const Panels<float> parts = gathered_.view(own.features * share_.ranks, own.batch, own.width);
  const auto part_of = [&](int rank) {
    return Panels<float>{parts.data + rank * own.count() * own.panel_size(), own.features, own.batch,
                         own.width};
  };
  for (std::int32_t p = 0; p < own.count(); ++p)
    for (int step = 1; step < share_.ranks; ++step) {
      const int peer = (share_.rank + step) % share_.ranks;
      receive(peer, lines(part_of(peer), p, every));
      send(peer, lines(partial, p, neurons_of(l, peer)));
    }
  wait();
  for (std::int32_t p = 0; p < own.count(); ++p)
    parallel_ranges(own.panel_size(), kSpreadGrain, [&](Range range) {
      float* const to = own.panel(p);
      for (int rank = 0; rank < share_.ranks; ++rank) {
        const float* const from =
            rank == share_.rank ? lines(partial, p, own_range).data() : part_of(rank).panel(p);
        if (rank == 0)
          std::copy(from + range.begin, from + range.end, to + range.begin);
        else
          for (std::int64_t i = range.begin; i < range.end; ++i) to[i] += from[i];
      }
    });
}

}  // namespace tulle
