#include "tulle/recover/selector.h"

#include <algorithm>
#include <cmath>

#include "tulle/base/check.h"

namespace tulle {

bool stronger(const Candidate& a, const Candidate& b) {
  const double of_a = std::abs(a.key), of_b = std::abs(b.key);
  return of_a != of_b ? of_a > of_b : a.place < b.place;
}

Selector::Selector(std::int64_t count) : count_(count) {
  require(count > 0, "selector: at least one must be selected");
  kept_.reserve(static_cast<std::size_t>(2 * count));
}

void Selector::shrink() {
  if (static_cast<std::int64_t>(kept_.size()) <= count_) return;
  const auto last = kept_.begin() + (count_ - 1);
  std::nth_element(kept_.begin(), last, kept_.end(), stronger);
  threshold_ = std::abs(last->key);
  kept_.resize(static_cast<std::size_t>(count_));
}

void Selector::merge(const Selector& other) {
  for (const Candidate& candidate : other.kept_) push(candidate.place, candidate.value, candidate.key);
}

std::vector<Candidate> Selector::finish() {
  shrink();
  std::vector<Candidate> found = kept_;
  std::sort(found.begin(), found.end(),
            [](const Candidate& a, const Candidate& b) { return a.place < b.place; });
  return found;
}

}  // namespace tulle
