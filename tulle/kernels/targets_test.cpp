#include "tulle/kernels/targets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "tulle/base/aligned.h"
#include "tulle/base/error.h"
#include "tulle/kernels/spmm.h"

namespace tulle::kernels {
namespace {

// Sets TULLE_ISA for one scope.
class Environment {
 public:
  explicit Environment(const char* value) {
    if (const char* old = std::getenv("TULLE_ISA")) old_ = old;
    ::setenv("TULLE_ISA", value, 1);
  }
  ~Environment() {
    old_ ? ::setenv("TULLE_ISA", old_->c_str(), 1) : ::unsetenv("TULLE_ISA");
    force_target("");
  }

 private:
  std::optional<std::string> old_;
};

TEST(ForceTarget, ThatOneIsThenTheCurrentOne) {
  for (const std::string& name : available_targets()) {
    force_target(name);
    EXPECT_EQ(current_target(), name);
  }
  force_target("");
}

TEST(ForceTarget, ThatOneThenRunsTheKernels) {
  const std::pair<std::string, std::string> highway_names[] = {
      {"avx512_dl", "AVX3_DL"}, {"avx512", "AVX3"}, {"avx2", "AVX2"},
      {"sse4", "SSE4"},         {"ssse3", "SSSE3"}, {"scalar", "SCALAR"}};
  // (1 + e)^2 - (1 + 2e) is e^2 with fused multiply-add and 0 if the product is rounded first, at e = 2^-12.
  const std::vector<std::int64_t> row_ptr{0, 2};
  const std::vector<std::int32_t> columns{0, 1};
  const float e = 0x1p-12f, weights[] = {-1.0f, 1.0f + e};
  AlignedVector<float> x(32, 1.0f + 2 * e), y(16);
  std::fill(x.begin() + 16, x.end(), 1.0f + e);
  const auto available = available_targets();
  for (const auto& [name, highway_name] : highway_names) {
    if (std::find(available.begin(), available.end(), name) == available.end()) continue;
    force_target(name);
    // Highway has two forms without vectors; which one depends on the compiler.
    EXPECT_THAT(hwy::TargetName(hwy::SupportedTargets()),
                ::testing::AnyOf(highway_name, name == "scalar" ? "EMU128" : highway_name));
    spmm_forward({row_ptr.data(), row_ptr.data() + 1, columns.data(), weights}, {0, 1}, 16, x.data(),
                 y.data(), {});
    EXPECT_EQ(y[7], name.starts_with("avx") ? e * e : 0.0f) << name;
  }
  force_target("");
}

TEST(ForceTarget, DoesNotChangeWhatIsAvailable) {
  const auto before = available_targets();
  ASSERT_FALSE(before.empty());
  EXPECT_EQ(before.back(), "scalar");
  force_target("scalar");
  EXPECT_EQ(available_targets(), before);
  force_target("");
}

TEST(ForceTarget, OfAnUnknownNameNamesTheKnownOnesAndChangesNothing) {
  force_target("scalar");
  try {
    force_target("scaler");
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfig);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("did you mean 'scalar'"));
    for (const std::string& name : available_targets()) EXPECT_THAT(error.what(), ::testing::HasSubstr(name));
  }
  EXPECT_EQ(current_target(), "scalar");
  force_target("");
}

TEST(ForceTarget, WithoutANameGoesBackToTheEnvironmentsChoiceOrTheBest) {
  {
    const Environment environment("");
    force_target("scalar");
    force_target("");
    EXPECT_EQ(current_target(), available_targets().front());
  }
  const Environment environment("scalar");
  force_target(available_targets().front());
  force_target("");
  EXPECT_EQ(current_target(), "scalar");
  ::setenv("TULLE_ISA", "mmx", 1);
  EXPECT_THROW(force_target(""), Error);
}

TEST(PanelWidth, HoldsTheBatchWithoutALineMoreThanTheNarrowestPanelThatDoes) {
  for (const std::string& name : available_targets()) {
    force_target(name);
    const int widest = panel_width(1'000'000);
    for (std::int64_t batch = 1; batch <= 300; ++batch) {
      int narrowest = 16;
      while (narrowest < batch && narrowest < widest) narrowest *= 2;
      EXPECT_EQ(panel_width(batch), narrowest) << name << ", batch " << batch;
    }
  }
  force_target("");
}

TEST(PanelWidth, UsesEightRegistersOfTheInstructionSet) {
  const std::pair<std::string, int> expected[] = {{"avx512_dl", 128}, {"avx512", 128}, {"avx2", 64},
                                                  {"sse4", 32},       {"ssse3", 32},   {"scalar", 16}};
  const auto available = available_targets();
  for (const auto& [name, width] : expected) {
    if (std::find(available.begin(), available.end(), name) == available.end()) continue;
    force_target(name);
    EXPECT_EQ(panel_width(1000), width) << name;
  }
  force_target("");
}

}  // namespace
}  // namespace tulle::kernels
