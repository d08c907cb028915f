#pragma once

#include <cstddef>
#include <span>
#include <type_traits>
#include <vector>

#include "tulle/comm/communicator.h"

namespace tulle {

/// All ranks call these together, in the same order. They throw what Communicator::wait() throws.

/// Sends or receives, and waits until it is done.
void send_now(Communicator& comm, int to, std::span<const std::byte> bytes);
void receive_now(Communicator& comm, int from, std::span<std::byte> bytes);

/// What each rank gave, by rank; lengths may differ. Every rank sends to every other: two messages of
/// latency, whatever the number of ranks.
std::vector<std::vector<std::byte>> gather_all(Communicator& comm, std::span<const std::byte> own);

/// The same for one value each.
template <class T>
requires std::is_trivially_copyable_v<T> std::vector<T> gather_all(Communicator& comm, const T& own) {
  std::vector<T> all(static_cast<std::size_t>(comm.size()), own);
  Communicator::Transfers transfers;
  std::vector<int> peers;
  for (int step = 1; step < comm.size(); ++step) {
    const int peer = (comm.rank() + step) % comm.size();
    T& place = all[static_cast<std::size_t>(peer)];
    transfers.push_back(comm.receive(peer, std::as_writable_bytes(std::span(&place, 1))));
    transfers.push_back(comm.send(peer, std::as_bytes(std::span(&own, 1))));
    peers.insert(peers.end(), 2, peer);
  }
  for (std::size_t i = 0; i < transfers.size(); ++i) comm.wait(*transfers[i], peers[i]);
  return all;
}

/// The sum of values[0], values[1], ... as a balanced tree adds them: the pairs first. With as many values as
/// shards of a batch, ranks that hold a power of two of them each get the same bits from their own sums.
template <class T>
T tree_sum(std::vector<T> values) {
  for (std::size_t step = 1; step < values.size(); step *= 2)
    for (std::size_t i = 0; i + step < values.size(); i += 2 * step) values[i] = values[i] + values[i + step];
  return values.front();
}

}  // namespace tulle
