#include "tulle/comm/part_exchange.h"

namespace tulle {

void PartExchange::start(std::span<std::byte> bytes, std::size_t entry) {
  const auto part_of = [&](int rank) {
    const Range range = part(static_cast<std::int64_t>(bytes.size() / entry), rank);
    return bytes.subspan(static_cast<std::size_t>(range.begin) * entry,
                         static_cast<std::size_t>(range.end - range.begin) * entry);
  };
  for (int step = 1; step < comm_.size(); ++step) {
    const int peer = (comm_.rank() + step) % comm_.size();
    messages_.push_back({peer, comm_.receive(peer, part_of(peer))});
    messages_.push_back({peer, comm_.send(peer, part_of(comm_.rank()))});
  }
}

void PartExchange::finish() {
  for (const Message& message : messages_) comm_.wait(*message.transfer, message.peer);
  messages_.clear();
}

}  // namespace tulle
