#include "tulle/kernels/adam.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "tulle/kernels/test_problem.h"

namespace tulle::kernels {
namespace {

constexpr std::size_t kSize = 16 * 3 + 11;  // whole vectors of every width, and some entries left
constexpr std::uint16_t kOldest = std::numeric_limits<std::uint16_t>::max();

// What a training has made of some entries: of every age, the last ones among them.
struct Entries {
  std::vector<float> gradient, value, first, second;
  std::vector<std::uint16_t> age;

  Entries() : gradient(kSize), value(kSize), first(kSize), second(kSize), age(kSize) {
    std::mt19937 dice(7);
    std::normal_distribution<float> normal;
    for (std::size_t i = 0; i < kSize; ++i) {
      gradient[i] = normal(dice);
      value[i] = normal(dice);
      first[i] = normal(dice);
      second[i] = std::abs(normal(dice));
      age[i] = static_cast<std::uint16_t>(i % 3 == 0 ? kOldest - i / 3 % 2 : i * i);
    }
  }

  void step(const AdamStep& how, std::size_t begin, std::size_t end) {
    adam_step(how, static_cast<std::int64_t>(end - begin), gradient.data() + begin, value.data() + begin,
              first.data() + begin, second.data() + begin, age.data() + begin);
  }
};

class AdamStepOn : public EveryTarget {
 protected:
  AdamStepOn() {
    for (std::size_t a = 1; a <= kOldest; ++a) {
      correction1_[a] = static_cast<float>(1 / (1 - std::pow(0.9, a)));
      correction2_[a] = static_cast<float>(1 / (1 - std::pow(0.999, a)));
    }
  }
  AdamStep how(float coupled, float shrink) const {
    return {0.9f, 0.999f, 1e-8f, 0.01f, coupled, shrink, correction1_.data(), correction2_.data()};
  }
  std::vector<float> correction1_ = std::vector<float>(kOldest + 1, 1.0f), correction2_ = correction1_;
};

TEST_P(AdamStepOn, EqualsTheFormulaInDoubleForEveryEntry) {
  for (const auto& [coupled, shrink] : {std::pair{0.0f, 0.0f}, {0.1f, 0.0f}, {0.0f, 0.1f}}) {
    const Entries before;
    Entries after;
    after.step(how(coupled, shrink), 0, kSize);
    for (std::size_t i = 0; i < kSize; ++i) {
      const double old = before.value[i], g = before.gradient[i] + double{coupled} * old;
      const double m = 0.9 * before.first[i] + 0.1 * g, s = 0.999 * before.second[i] + 0.001 * g * g;
      const int age = std::min(before.age[i] + 1, int{kOldest});
      EXPECT_EQ(after.age[i], age);
      EXPECT_NEAR(after.first[i], m, 1e-6);
      EXPECT_NEAR(after.second[i], s, 1e-6);
      const double root = std::sqrt(s / (1 - std::pow(0.999, age)));
      EXPECT_NEAR(after.value[i],
                  old - 0.01 * m / (1 - std::pow(0.9, age)) / (root + 1e-8) - double{shrink} * old, 2e-6)
          << "entry " << i << " of age " << age;
    }
  }
}

TEST_P(AdamStepOn, GivesTheSameBitsHoweverEntriesAreCut) {
  Entries whole, cut;
  for (int t = 0; t < 5; ++t) {
    whole.step(how(0.1f, 0.05f), 0, kSize);
    for (std::size_t begin = 0, end = 0, length = 1; begin < kSize; begin = end, length += 6) {
      end = std::min(begin + length, kSize);
      cut.step(how(0.1f, 0.05f), begin, end);
    }
    EXPECT_EQ(cut.value, whole.value);
    EXPECT_EQ(cut.first, whole.first);
    EXPECT_EQ(cut.second, whole.second);
    EXPECT_EQ(cut.age, whole.age);
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, AdamStepOn, ::testing::ValuesIn(available_targets()),
                         [](const auto& target) { return target.param; });

}  // namespace
}  // namespace tulle::kernels
