#pragma once

#include <chrono>

namespace tulle {

/// Monotonic seconds since construction or the last restart; jumps of the wall clock do not matter.
class Clock {
 public:
  double seconds() const { return std::chrono::duration<double>(Steady::now() - start_).count(); }
  /// Seconds so far, and starts again at 0.
  double restart() {
    const auto now = Steady::now();
    const double elapsed = std::chrono::duration<double>(now - start_).count();
    start_ = now;
    return elapsed;
  }

 private:
  using Steady = std::chrono::steady_clock;
  Steady::time_point start_ = Steady::now();
};

}  // namespace tulle
