#include "tulle/recover/selector.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "tulle/base/random.h"

namespace tulle::testing {
namespace {

// Few different magnitudes, so that most are ties, and zeros.
std::vector<Candidate> stream(std::int64_t count) {
  const Random random{.seed = 3, .stream = Stream::kData};
  std::vector<Candidate> all;
  for (std::int64_t i = 0; i < count; ++i)
    all.push_back({i, static_cast<double>(random.below(9, static_cast<std::uint64_t>(i))) - 4.0});
  return all;
}

std::vector<Candidate> sorted(std::vector<Candidate> all, std::size_t count) {
  std::erase_if(all, [](const Candidate& c) { return c.value == 0.0; });
  std::ranges::sort(all, [](const Candidate& a, const Candidate& b) {
    return std::pair(-std::abs(a.value), a.place) < std::pair(-std::abs(b.value), b.place);
  });
  all.resize(std::min(all.size(), count));
  std::ranges::sort(all, {}, &Candidate::place);
  return all;
}

void expect_equal(const std::vector<Candidate>& found, const std::vector<Candidate>& wanted) {
  ASSERT_EQ(found.size(), wanted.size());
  for (std::size_t k = 0; k < found.size(); ++k) {
    EXPECT_EQ(found[k].place, wanted[k].place);
    EXPECT_EQ(found[k].value, wanted[k].value);
  }
}

class EveryCount : public ::testing::TestWithParam<std::int64_t> {};

TEST_P(EveryCount, SelectsLikeAFullSortHoweverTheStreamIsSplitAndTurned) {
  const std::vector<Candidate> all = stream(500);
  const std::vector<Candidate> wanted = sorted(all, static_cast<std::size_t>(GetParam()));
  for (const std::size_t parts : {1u, 2u, 3u, 7u}) {
    std::vector<Selector> selectors(parts, Selector(GetParam()));
    for (std::size_t i = 0; i < all.size(); ++i) {
      const Candidate& c = all[all.size() - 1 - i];
      selectors[i % parts].push(c.place, c.value);
    }
    for (std::size_t part = 1; part < parts; ++part) selectors[0].merge(selectors[part]);
    expect_equal(selectors[0].finish(), wanted);
  }
}

INSTANTIATE_TEST_SUITE_P(Selector, EveryCount, ::testing::Values(1, 2, 17, 100, 499, 500, 2000));

TEST(Selector, OfNothingButZerosSelectsNothing) {
  Selector selector(3);
  for (std::int64_t i = 0; i < 10; ++i) selector.push(i, 0.0);
  EXPECT_TRUE(selector.finish().empty());
  EXPECT_THROW(Selector(0), std::invalid_argument);
}

}  // namespace
}  // namespace tulle::testing
