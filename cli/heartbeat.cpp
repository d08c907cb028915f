#include "heartbeat.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "say.h"

namespace tulle::cli {
namespace {

// Text that is printed has no control characters but the ends of lines (escape_control()).
constexpr char kBegin = '\x02', kEnd = '\x03';
constexpr std::size_t kLongest = 64;

}  // namespace

Heartbeat::Heartbeat(int rank, double seconds)
    : thread_([this, rank, seconds](const std::stop_token& stop) {
        std::mutex mutex;
        std::condition_variable_any over;
        for (std::unique_lock lock(mutex); !stop.stop_requested();) {
          say(fmt::format("{}{} {}{}", kBegin, rank, step_.load(std::memory_order_relaxed), kEnd));
          over.wait_for(lock, stop, std::chrono::duration<double>(seconds), [] { return false; });
        }
      }) {}

std::string Heartbeats::take(std::string_view text) {
  std::string rest;
  for (const char c : text) {
    if (begun_.empty() && c != kBegin) {
      rest += c;
    } else if (c == kEnd) {
      note(std::string_view(begun_).substr(1));
      begun_.clear();
    } else {
      begun_ += c;
    }
    if (begun_.size() > kLongest) rest += std::exchange(begun_, {});  // no beat after all
  }
  return rest;
}

void Heartbeats::note(std::string_view words) {
  int rank = 0;
  std::int64_t step = 0;
  const char* const end = words.data() + words.size();
  const auto [space, bad_rank] = std::from_chars(words.data(), end, rank);
  if (bad_rank != std::errc{} || space == end) return;
  if (std::from_chars(space + 1, end, step).ec == std::errc{}) ranks_[rank] = {now_, step};
}

const Heartbeats::Entry* Heartbeats::quietest() const {
  const auto longest =
      std::ranges::max_element(ranks_, {}, [this](const Entry& entry) { return silence(entry); });
  return longest == ranks_.end() ? nullptr : &*longest;
}

bool Heartbeats::silent(double seconds) const {
  const Entry* const entry = quietest();
  return entry != nullptr && silence(*entry) > seconds;
}

std::string Heartbeats::suspect(double seconds) const {
  if (silent(seconds)) {
    const Entry& entry = *quietest();
    return fmt::format("launch  rank {} was last heard {:.0f} s ago, at step {}\n", entry.first,
                       silence(entry), entry.second.step);
  }
  // Ranks that only work for another count no steps, and those that learn together may be told of at one that
  // others have just ended.
  const auto step = [](const Entry& entry) { return entry.second.step; };
  const auto [least, most] = std::ranges::minmax_element(ranks_, {}, step);
  if (least == ranks_.end() || step(*least) == 0 || step(*most) - step(*least) < 2) return "";
  return fmt::format("launch  rank {} was last heard at step {}, rank {} at step {}\n", least->first,
                     step(*least), most->first, step(*most));
}

}  // namespace tulle::cli
