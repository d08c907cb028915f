#include "tulle/comm/threads.h"

#include <atomic>
#include <cstring>
#include <deque>
#include <mutex>

#include "tulle/base/check.h"
#include "tulle/base/error.h"

namespace tulle {
namespace {

// One message, of which the sender, the receiver or both are there.
struct Message {
  enum class State { kWaiting, kDone, kWrong, kLost };

  std::span<const std::byte> from;
  std::span<std::byte> to;
  std::atomic<State> state{State::kWaiting};
};

// Messages from one rank to another that wait for their other side; never both at once. Once one was given up
// nothing meets here any more: what follows would be taken for it.
struct Lane {
  std::mutex mutex;
  std::deque<std::shared_ptr<Message>> unsent, unreceived;
  bool broken = false;
};

// What a rank announced last, and how many times it did.
struct Announcement {
  std::atomic<double> seconds{0.0};
  std::atomic<std::uint64_t> count{0};
};

struct Group {
  explicit Group(int count)
      : size(count),
        lanes(static_cast<std::size_t>(count * count)),
        gone(static_cast<std::size_t>(count)),
        announcements(static_cast<std::size_t>(count)) {}
  Lane& lane(int from, int to) { return lanes[static_cast<std::size_t>(from * size + to)]; }

  int size;
  std::vector<Lane> lanes;
  std::vector<std::atomic<bool>> gone;  // ranks that gave up
  std::vector<Announcement> announcements;
};

class ThreadTransfer final : public Communicator::Transfer {
 public:
  ThreadTransfer(std::shared_ptr<Group> group, int peer, Lane& lane, std::shared_ptr<Message> message)
      : group_(std::move(group)), peer_(peer), lane_(lane), message_(std::move(message)) {}

  // The bytes of a message that nobody waits for any more may go: nobody must find them.
  ~ThreadTransfer() override {
    {
      const std::lock_guard<std::mutex> lock(lane_.mutex);
      if (std::erase(lane_.unsent, message_) + std::erase(lane_.unreceived, message_) > 0) {
        lane_.broken = true;
        return;
      }
    }
    message_->state.wait(Message::State::kWaiting, std::memory_order_acquire);  // the other side copies
  }

  // Only what the peer itself owes fails with it: ranks that a third one left still finish what they have to
  // tell each other. It may have sent this before it left, so whether it is gone is read first.
  bool done() override {
    const bool gone = group_->gone[static_cast<std::size_t>(peer_)].load(std::memory_order_acquire);
    const Message::State state = message_->state.load(std::memory_order_acquire);
    require(state != Message::State::kWrong, "Communicator: both sides must name as many bytes");
    if (state == Message::State::kDone) return true;
    if (gone) throw Error(ErrorKind::kTemporary, "rank " + std::to_string(peer_) + " gave up");
    return false;
  }

 private:
  std::shared_ptr<Group> group_;
  int peer_;
  Lane& lane_;
  std::shared_ptr<Message> message_;
};

class ThreadCommunicator final : public Communicator {
 public:
  ThreadCommunicator(std::shared_ptr<Group> group, int rank)
      : Communicator(rank, group->size),
        group_(std::move(group)),
        heard_(static_cast<std::size_t>(size()), 0) {}

  void give_up(int) override { group_->gone[static_cast<std::size_t>(rank())] = true; }

 private:
  std::unique_ptr<Transfer> start_send(int to, std::span<const std::byte> bytes) override {
    Lane& lane = group_->lane(rank(), to);
    return meet(to, lane, lane.unsent, lane.unreceived, [&](Message& message) { message.from = bytes; });
  }
  std::unique_ptr<Transfer> start_receive(int from, std::span<std::byte> bytes) override {
    Lane& lane = group_->lane(from, rank());
    return meet(from, lane, lane.unreceived, lane.unsent, [&](Message& message) { message.to = bytes; });
  }

  // Completes the oldest message that waits among `theirs` for this side, or begins one: `theirs` holds what
  // this side is awaited for, `ours` what it awaits.
  template <class Add>
  std::unique_ptr<Transfer> meet(int peer, Lane& lane, std::deque<std::shared_ptr<Message>>& theirs,
                                 std::deque<std::shared_ptr<Message>>& ours, const Add& add) {
    std::shared_ptr<Message> message;
    bool complete = false;
    {
      const std::lock_guard<std::mutex> lock(lane.mutex);
      complete = !theirs.empty() && !lane.broken;
      if (complete) {
        message = std::move(theirs.front());
        theirs.pop_front();
      } else {
        message = std::make_shared<Message>();
        if (lane.broken)
          message->state = Message::State::kLost;
        else
          ours.push_back(message);
      }
      add(*message);
    }
    if (complete) {
      const bool fits = message->from.size() == message->to.size();
      if (fits && !message->from.empty())
        std::memcpy(message->to.data(), message->from.data(), message->from.size());
      message->state.store(fits ? Message::State::kDone : Message::State::kWrong, std::memory_order_release);
      message->state.notify_all();
    }
    return std::make_unique<ThreadTransfer>(group_, peer, lane, std::move(message));
  }

  void tell(double seconds) override {
    Announcement& own = group_->announcements[static_cast<std::size_t>(rank())];
    own.seconds.store(seconds, std::memory_order_relaxed);
    own.count.fetch_add(1, std::memory_order_release);
  }
  bool hear(std::span<double> asked) override {
    bool news = false;
    for (std::size_t rank = 0; rank < heard_.size(); ++rank) {
      const Announcement& theirs = group_->announcements[rank];
      const std::uint64_t count = theirs.count.load(std::memory_order_acquire);
      if (static_cast<int>(rank) == this->rank() || count == heard_[rank]) continue;
      heard_[rank] = count;
      asked[rank] = theirs.seconds.load(std::memory_order_relaxed);
      news = true;
    }
    return news;
  }

  std::shared_ptr<Group> group_;
  std::vector<std::uint64_t> heard_;  // of each rank: announcements
};

}  // namespace

std::vector<std::unique_ptr<Communicator>> thread_group(int size) {
  require(size > 0, "thread_group: at least one rank is needed");
  const auto group = std::make_shared<Group>(size);
  std::vector<std::unique_ptr<Communicator>> all;
  for (int rank = 0; rank < size; ++rank) all.push_back(std::make_unique<ThreadCommunicator>(group, rank));
  return all;
}

}  // namespace tulle
