#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tulle/base/aligned.h"
#include "tulle/comm/part_exchange.h"

namespace tulle {

/// Sums arrays over all ranks (all-reduce) while the caller computes on. Each rank owns a part of every
/// array: the others send it theirs, it adds all of them in one fixed order, the balanced tree of tree_sum(),
/// and sends the sum back. Every rank ends with the same bits, and with those that one rank would have got
/// from the same tree.
/// Traffic: each rank sends 2 (N - 1) / N of the array, as a ring would, in 2 messages of latency instead of
/// 2 (N - 1). Memory: one array more.
class SumExchange {
 public:
  enum class Wire { kFloat, kBf16 };

  /// kBf16: values travel rounded to bfloat16, and are added as floats; half the traffic.
  SumExchange(Communicator& comm, Wire wire) : comm_(comm), wire_(wire), sums_(comm) {}

  /// Begins to sum `values`, which must not be touched until finish(). All ranks start the same arrays in the
  /// same order.
  void start(std::span<float> values);

  /// What rank `rank` of `ranks` sends to sum an array of `values` values: to each of the others its part as
  /// it is, and its own when it is the sum.
  static std::int64_t sent_bytes(std::int64_t values, int rank, int ranks, Wire wire);

  /// Waits for all that was started. Throws what Communicator::wait() throws.
  void finish();
  /// The same with each rank's own part alone, PartExchange::own() of every array: the first half of the
  /// traffic (reduce-scatter). The other entries then mean nothing.
  void finish_own();

  /// Lets go of the memory that is kept between steps.
  void release() { items_.clear(); }

 private:
  struct Message {
    int peer;
    std::unique_ptr<Communicator::Transfer> transfer;
  };
  struct Item {
    std::span<float> values;
    AlignedVector<float> parts;  // [rank][length of the own part], as they came; the own one stays unused
    AlignedVector<std::uint16_t> narrow_parts, sent, sums;  // kBf16: the same, and both arrays on the wire
    std::vector<Message> coming, going;
  };

  std::span<float> part(const Item& item, int rank) const;
  std::span<std::byte> wire(Item& item, AlignedVector<std::uint16_t>& narrow, std::span<float> values) const;
  void add_parts(Item& item);
  void take_parts(Item& item);
  void wait(std::vector<Message>& messages);

  Communicator& comm_;
  Wire wire_;
  PartExchange sums_;
  std::vector<Item> items_;  // memory is kept from one step to the next
  std::size_t started_ = 0;
};

}  // namespace tulle
