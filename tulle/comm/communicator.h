#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tulle/base/clock.h"

namespace tulle {

/// Who computes together: `size()` ranks, each a process (MPI) or a thread of this one. Messages between two
/// ranks arrive in the order in which they were sent. All methods are called by one thread a rank, and none
/// waits but wait(), which knows a deadline: a rank that died or hangs ends the wait of every other.
///
/// What is sent are values alone. Which connections they belong to both sides know: topologies change by the
/// same rules everywhere.
class Communicator {
 public:
  /// A message on its way. Its bytes must stay where they are until it is done.
  class Transfer {
   public:
    virtual ~Transfer() = default;
    /// Whether it is over. Throws tulle::Error (kTemporary) if it never will be.
    virtual bool done() = 0;
  };
  using Transfers = std::vector<std::unique_ptr<Transfer>>;

  /// Payload so far, both ways.
  struct Traffic {
    std::uint64_t sent = 0, received = 0;
  };

  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  const Traffic& traffic() const { return traffic_; }

  std::unique_ptr<Transfer> send(int to, std::span<const std::byte> bytes);
  std::unique_ptr<Transfer> receive(int from, std::span<std::byte> bytes);

  /// Until the transfer with rank `peer` is done. Throws tulle::Error (kTemporary), naming the peer, if that
  /// takes longer than the time limit.
  void wait(Transfer& transfer, int peer) const;

  double time_limit() const { return time_limit_; }
  void set_time_limit(double seconds) { time_limit_ = seconds; }

  /// This rank cannot go on: whoever waits for it is told. Called once, before the rank leaves.
  virtual void give_up(int exit_code) = 0;

 protected:
  Communicator(int rank, int size) : rank_(rank), size_(size) {}

 private:
  virtual std::unique_ptr<Transfer> start_send(int to, std::span<const std::byte> bytes) = 0;
  virtual std::unique_ptr<Transfer> start_receive(int from, std::span<std::byte> bytes) = 0;

  int rank_, size_;
  double time_limit_ = 60.0;
  Traffic traffic_;
};

/// How to wait for what others do: awake for a millisecond, then asleep for a little at a time, so that more
/// ranks than cores do not hinder each other.
class Patience {
 public:
  explicit Patience(double seconds) : limit_(seconds) {}
  /// Lets others work for a while; false once the time is over.
  bool pause();

 private:
  double limit_;
  Clock clock_;
};

/// A communicator of one rank, for code that asks no matter how many there are.
std::unique_ptr<Communicator> alone();

}  // namespace tulle
