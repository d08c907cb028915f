#include "tulle/comm/collectives.h"

#include <cstdint>

namespace tulle {

void send_now(Communicator& comm, int to, std::span<const std::byte> bytes) {
  comm.wait(*comm.send(to, bytes), to);
}

void receive_now(Communicator& comm, int from, std::span<std::byte> bytes) {
  comm.wait(*comm.receive(from, bytes), from);
}

std::vector<std::vector<std::byte>> gather_all(Communicator& comm, std::span<const std::byte> own) {
  const std::vector<std::uint64_t> lengths = gather_all(comm, std::uint64_t{own.size()});
  std::vector<std::vector<std::byte>> all;
  for (const std::uint64_t length : lengths) all.emplace_back(length);
  all[static_cast<std::size_t>(comm.rank())].assign(own.begin(), own.end());
  Communicator::Transfers transfers;
  std::vector<int> peers;
  for (int step = 1; step < comm.size(); ++step) {
    const int peer = (comm.rank() + step) % comm.size();
    transfers.push_back(comm.receive(peer, all[static_cast<std::size_t>(peer)]));
    transfers.push_back(comm.send(peer, own));
    peers.insert(peers.end(), 2, peer);
  }
  for (std::size_t i = 0; i < transfers.size(); ++i) comm.wait(*transfers[i], peers[i]);
  return all;
}

}  // namespace tulle
