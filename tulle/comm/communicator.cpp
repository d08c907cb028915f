#include "tulle/comm/communicator.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>

#include "tulle/base/check.h"
#include "tulle/base/error.h"
#include "tulle/comm/threads.h"

namespace tulle {

std::unique_ptr<Communicator::Transfer> Communicator::send(int to, std::span<const std::byte> bytes) {
  require(to >= 0 && to < size_ && to != rank_, "Communicator: messages go to another rank");
  traffic_.sent += bytes.size();
  return start_send(to, bytes);
}

std::unique_ptr<Communicator::Transfer> Communicator::receive(int from, std::span<std::byte> bytes) {
  require(from >= 0 && from < size_ && from != rank_, "Communicator: messages come from another rank");
  traffic_.received += bytes.size();
  return start_receive(from, bytes);
}

void Communicator::wait(Transfer& transfer, int peer) {
  const double work = alike_since_ ? 10.0 * alike_since_->seconds() : 0.0;
  const auto longer = [&] { return work + *std::ranges::max_element(asked_); };
  Patience patience(time_limit_ + longer());
  while (!transfer.done()) {
    if (hear(asked_)) patience.restart(time_limit_ + longer());
    if (patience.pause()) continue;
    throw Error(ErrorKind::kTemporary,
                fmt::format("rank {}: found no message from rank {} for {:.1f} s, expected one within "
                            "parallel.timeout{}",
                            rank_, peer, time_limit_ + longer(),
                            longer() > 0.0 ? fmt::format(" and {:.1f} s for a long phase", longer()) : ""));
  }
}

bool Patience::pause() {
  constexpr double kAwake = 1e-3, kStopped = 1.0;
  waited_ += std::min(clock_.seconds(), kStopped);
  clock_.restart();
  if (waited_ < kAwake)
    std::this_thread::yield();
  else
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  return waited_ <= limit_;
}

void Patience::restart(double seconds) {
  limit_ = seconds;
  waited_ = 0.0;
  clock_.restart();
}

std::unique_ptr<Communicator> alone() { return std::move(thread_group(1).front()); }

}  // namespace tulle
