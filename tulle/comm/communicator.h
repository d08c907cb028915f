#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
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
  /// takes longer than the time limit and what a LongPhase allows beyond it; each time a rank tells of
  /// one, the wait begins anew.
  void wait(Transfer& transfer, int peer);

  /// Tells all other ranks, who need not listen now, that this one may be silent for so many seconds beyond
  /// the time limit; 0: it is back. They wait longer whomever they wait for: that one may wait for this one.
  /// Not counted as payload. Called by way of LongPhase.
  void announce(double seconds) { tell(seconds); }

  double time_limit() const { return time_limit_; }
  void set_time_limit(double seconds) { time_limit_ = seconds; }
  /// Since when all ranks have been at work on as much as this one: a wait may last ten times as long
  /// besides.
  std::optional<Clock> alike_since() const { return alike_since_; }
  void set_alike_since(const std::optional<Clock>& since) { alike_since_ = since; }

  /// This rank cannot go on: whoever waits for it is told. Called once, before the rank leaves.
  virtual void give_up(int exit_code) = 0;

 protected:
  Communicator(int rank, int size) : rank_(rank), size_(size), asked_(static_cast<std::size_t>(size), 0.0) {}

 private:
  virtual void tell(double seconds) = 0;
  /// Puts what each rank asked for last into `asked`, by rank; whether there was any news.
  virtual bool hear(std::span<double> asked) = 0;
  virtual std::unique_ptr<Transfer> start_send(int to, std::span<const std::byte> bytes) = 0;
  virtual std::unique_ptr<Transfer> start_receive(int from, std::span<std::byte> bytes) = 0;

  int rank_, size_;
  double time_limit_ = 60.0;
  std::optional<Clock> alike_since_;
  std::vector<double> asked_;  // by each rank: seconds beyond the time limit
  Traffic traffic_;
};

/// How to wait for what others do: awake for a millisecond, then asleep for a little at a time, so that more
/// ranks than cores do not hinder each other.
class Patience {
 public:
  explicit Patience(double seconds) : limit_(seconds) {}
  /// Lets others work for a while; false once the time is over.
  bool pause();
  /// From now on, so many seconds.
  void restart(double seconds);

 private:
  double limit_;
  double waited_ = 0.0;  // what this process was stopped meanwhile does not count
  Clock clock_;          // since the last pause
};

/// A communicator of one rank, for code that asks no matter how many there are.
std::unique_ptr<Communicator> alone();

}  // namespace tulle
