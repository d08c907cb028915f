#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "tulle/base/parallel.h"
#include "tulle/comm/communicator.h"

namespace tulle {

/// Brings arrays together of which each rank holds a part, one of as many nearly equal ones as there are
/// ranks (all-gather). Traffic: each rank sends its part to every other, in one message of latency. Memory:
/// none.
class PartExchange {
 public:
  explicit PartExchange(Communicator& comm) : comm_(comm) {}

  /// Entries of an array of `size` that are a rank's, or this one's.
  Range part(std::int64_t size, int rank) const { return even_range(size, comm_.size(), rank); }
  Range own(std::int64_t size) const { return part(size, comm_.rank()); }

  /// Begins to send the own part of `values` and to receive the others' into it; it must not be touched until
  /// finish(). All ranks start the same arrays in the same order.
  template <class T>
  void start(std::span<T> values) {
    start(std::as_writable_bytes(values), sizeof(T));
  }

  /// Waits for all that was started. Throws what Communicator::wait() throws.
  void finish();

 private:
  struct Message {
    int peer;
    std::unique_ptr<Communicator::Transfer> transfer;
  };

  void start(std::span<std::byte> bytes, std::size_t entry);

  Communicator& comm_;
  std::vector<Message> messages_;
};

/// What every rank gave, as many values each, one rank's after another's.
template <class T>
std::vector<T> gather_equal(Communicator& comm, std::span<const T> own) {
  std::vector<T> all(own.size() * static_cast<std::size_t>(comm.size()));
  std::ranges::copy(own, all.begin() + std::ssize(own) * comm.rank());
  PartExchange exchange(comm);
  exchange.start(std::span(all));
  exchange.finish();
  return all;
}

}  // namespace tulle
