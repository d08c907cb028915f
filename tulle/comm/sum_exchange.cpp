#include "tulle/comm/sum_exchange.h"

#include <algorithm>

#include "tulle/base/half.h"
#include "tulle/base/parallel.h"

namespace tulle {
namespace {

constexpr std::int64_t kGrain = 4096;

// Plain loops over pointers that do not overlap: they are done in vectors.
void narrow_loop(const float* __restrict from, std::uint16_t* __restrict to, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = float_to_bf16(from[i]);
}
void widen_loop(const std::uint16_t* __restrict from, float* __restrict to, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = bf16_to_float(from[i]);
}
void add_loop(const float* __restrict from, float* __restrict to, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) to[i] += from[i];
}

void narrow(std::span<const float> from, std::uint16_t* to) {
  parallel_ranges(std::ssize(from), kGrain, [&](Range range) {
    narrow_loop(from.data() + range.begin, to + range.begin, range.end - range.begin);
  });
}

void widen(const std::uint16_t* from, std::span<float> to) {
  parallel_ranges(std::ssize(to), kGrain, [&](Range range) {
    widen_loop(from + range.begin, to.data() + range.begin, range.end - range.begin);
  });
}

}  // namespace

std::span<float> SumExchange::part(const Item& item, int rank) const {
  const Range range = sums_.part(std::ssize(item.values), rank);
  return item.values.subspan(static_cast<std::size_t>(range.begin),
                             static_cast<std::size_t>(range.end - range.begin));
}

std::int64_t SumExchange::sent_bytes(std::int64_t values, int rank, int ranks, Wire wire) {
  if (ranks == 1) return 0;
  const Range own = even_range(values, ranks, rank);
  return (values + (own.end - own.begin) * (ranks - 2)) * (wire == Wire::kFloat ? 4 : 2);
}

// What stands for `values`, a part of the item's, on the wire.
std::span<std::byte> SumExchange::wire(Item& item, AlignedVector<std::uint16_t>& narrow,
                                       std::span<float> values) const {
  if (wire_ == Wire::kFloat) return std::as_writable_bytes(values);
  const auto place = static_cast<std::size_t>(values.data() - item.values.data());
  return std::as_writable_bytes(std::span(narrow).subspan(place, values.size()));
}

void SumExchange::wait(std::vector<Message>& messages) {
  for (Message& message : messages) comm_.wait(*message.transfer, message.peer);
  messages.clear();
}

void SumExchange::start(std::span<float> values) {
  if (comm_.size() == 1) return;
  // MPI moves long messages only while it is called: those of the layers above get their chance.
  for (std::size_t i = 0; i < started_; ++i)
    for (std::vector<Message>* messages : {&items_[i].coming, &items_[i].going})
      for (Message& message : *messages) (void)message.transfer->done();
  if (started_ == items_.size()) items_.emplace_back();
  Item& item = items_[started_++];
  item.values = values;
  const std::size_t own = part(item, comm_.rank()).size();
  item.parts.resize(wire_ == Wire::kFloat ? static_cast<std::size_t>(comm_.size()) * own : 0);
  if (wire_ == Wire::kBf16) {
    item.sent.resize(values.size());
    item.sums.resize(values.size());
    item.narrow_parts.resize(static_cast<std::size_t>(comm_.size()) * own);
    narrow(values, item.sent.data());
  }
  for (int step = 1; step < comm_.size(); ++step) {
    const int peer = (comm_.rank() + step) % comm_.size();
    const std::size_t place = static_cast<std::size_t>(peer) * own;
    const std::span<std::byte> in =
        wire_ == Wire::kFloat ? std::as_writable_bytes(std::span(item.parts).subspan(place, own))
                              : std::as_writable_bytes(std::span(item.narrow_parts).subspan(place, own));
    item.coming.push_back({peer, comm_.receive(peer, in)});
    item.going.push_back({peer, comm_.send(peer, wire(item, item.sent, part(item, peer)))});
  }
}

// A block of all parts at a time, so that the tree is climbed in the cache.
void SumExchange::add_parts(Item& item) {
  const std::span<float> own = part(item, comm_.rank());
  const auto ranks = static_cast<std::size_t>(comm_.size());
  const auto self = static_cast<std::size_t>(comm_.rank());
  parallel_ranges(std::ssize(own), kGrain, [&](Range range) {
    std::vector<float*> terms(ranks);
    std::vector<float> wide(wire_ == Wire::kBf16 ? ranks * static_cast<std::size_t>(kGrain) : 0);
    for (std::int64_t begin = range.begin; begin < range.end; begin += kGrain) {
      const std::int64_t count = std::min(kGrain, range.end - begin);
      for (std::size_t rank = 0; rank < ranks; ++rank) {
        const std::size_t place = rank * own.size() + static_cast<std::size_t>(begin);
        if (rank == self) {
          terms[rank] = own.data() + begin;
        } else if (wire_ == Wire::kFloat) {
          terms[rank] = item.parts.data() + place;
        } else {
          terms[rank] = wide.data() + rank * static_cast<std::size_t>(kGrain);
          widen_loop(item.narrow_parts.data() + place, terms[rank], count);
        }
      }
      for (std::size_t step = 1; step < ranks; step *= 2)
        for (std::size_t r = 0; r + step < ranks; r += 2 * step) add_loop(terms[r + step], terms[r], count);
      if (self != 0) std::copy_n(terms[0], count, own.data() + begin);
    }
  });
}

// The own part becomes what every rank is to have of it.
void SumExchange::take_parts(Item& item) {
  wait(item.coming);
  wait(item.going);  // before the sums take the place of what was sent
  add_parts(item);
  if (wire_ == Wire::kFloat) return;
  // What others get is rounded, so that must be what this rank goes on with.
  const std::span<float> own = part(item, comm_.rank());
  std::uint16_t* const sums = item.sums.data() + (own.data() - item.values.data());
  narrow(own, sums);
  widen(sums, own);
}

void SumExchange::finish_own() {
  for (std::size_t i = 0; i < started_; ++i) take_parts(items_[i]);
  started_ = 0;
}

void SumExchange::finish() {
  for (std::size_t i = 0; i < started_; ++i) {
    Item& item = items_[i];
    take_parts(item);
    wire_ == Wire::kFloat ? sums_.start(item.values) : sums_.start(std::span(item.sums));
  }
  sums_.finish();
  for (std::size_t i = 0; i < started_ && wire_ == Wire::kBf16; ++i)
    widen(items_[i].sums.data(), items_[i].values);
  started_ = 0;
}

}  // namespace tulle
