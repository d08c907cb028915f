#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tulle {

/// One number and where it stands.
struct Candidate {
  std::int64_t place = 0;
  double value = 0.0;
  double key = 0.0;  // what is compared: the value, or an estimate that stands for it
};

/// The order of selection: larger |key| first, ties by smaller place. A total order, so that what is
/// selected does not depend on the order in which numbers arrive.
bool stronger(const Candidate& a, const Candidate& b);

/// The `count` strongest of a stream of numbers, keys of 0 never. Memory: 2 * count entries of 24 bytes;
/// cost: O(1) a number, amortised.
class Selector {
 public:
  explicit Selector(std::int64_t count);

  void push(std::int64_t place, double value) { push(place, value, value); }
  void push(std::int64_t place, double value, double key) {
    const double magnitude = key < 0 ? -key : key;
    if (!(magnitude > 0.0) || magnitude < threshold_) return;
    kept_.push_back({place, value, key});
    if (static_cast<std::int64_t>(kept_.size()) == 2 * count_) shrink();
  }
  /// What another selector kept, as if pushed here.
  void merge(const Selector& other);
  /// The strongest, by place.
  std::vector<Candidate> finish();

 private:
  void shrink();

  std::int64_t count_;
  double threshold_ = 0.0;  // weaker ones need not be kept
  std::vector<Candidate> kept_;
};

}  // namespace tulle
