// Nets with several outputs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tulle/base/error.h"
#include "tulle/recover/recover_testing.h"

namespace tulle::testing {
namespace {

using ::testing::HasSubstr;

// Three classes that two of many features tell apart.
struct Classes {
  Samples x;
  std::vector<double> y;

  explicit Classes(std::int32_t features)
      : x(planted_samples(900, features, 3, 0)), y(static_cast<std::size_t>(3 * x.padded()), 0.0) {
    for (std::int64_t i = 0; i < 900; ++i) {
      const std::int64_t label = x.column(0)[i] > 0.4f ? 0 : x.column(5)[i] > 0.0f ? 1 : 2;
      y[static_cast<std::size_t>(label * x.padded() + i)] = 1.0;
    }
  }
  RecoverProblem problem() const { return {.x = x, .y = y, .outputs = 3, .classify = true}; }
  int right(const SparseNet& net) const {
    const std::vector<double> f = net_outputs(x, net);
    int count = 0;
    for (std::int64_t i = 0; i < 900; ++i) {
      const auto at = [&](std::int64_t o) { return static_cast<std::size_t>(o * x.padded() + i); };
      std::int64_t best = 0;
      for (std::int64_t o = 1; o < 3; ++o)
        if (f[at(o)] > f[at(best)]) best = o;
      count += y[at(best)] == 1.0;
    }
    return count;
  }
};

struct How {
  std::string method, select;
  int right;  // of 900, at least
};

class EveryMethodOfOutputs : public ::testing::TestWithParam<How> {
 protected:
  RecoverOptions options() const {
    RecoverOptions options{
        .hidden_width = 8, .nnz = 30, .steps = 30, .starts = 6, .select = GetParam().select};
    if (GetParam().method == "imp") options.steps = 100;
    return options;
  }
};

TEST_P(EveryMethodOfOutputs, TellsClassesApartWithinItsBudget) {
  const Classes c(12);
  const Recovery found = recover(GetParam().method, c.problem(), options());
  EXPECT_LE(found.net.nonzeros(), 30);
  for (const SparseWeights* layer : {&found.net.weights, &found.net.output})
    for (const double w : layer->values()) EXPECT_TRUE(std::isfinite(w) && w != 0.0);
  EXPECT_GE(c.right(found.net), GetParam().right);
}

TEST_P(EveryMethodOfOutputs, GivesTheSameBitsForAnyThreadsAndWorkspace) {
  const Classes c(12);
  const auto run = [&](std::int64_t workspace) {
    RecoverOptions o = options();
    o.steps = 6;
    o.workspace = workspace;
    const Recovery found = recover(GetParam().method, c.problem(), o);
    std::vector<double> all(found.net.weights.values().begin(), found.net.weights.values().end());
    all.insert(all.end(), found.net.output.values().begin(), found.net.output.values().end());
    for (const std::int64_t place : found.net.weights.places()) all.push_back(static_cast<double>(place));
    return all;
  };
  const auto wanted = with_threads(1, [&] { return run(32 << 20); });
  EXPECT_EQ(with_threads(2, [&] { return run(32 << 20); }), wanted);
  EXPECT_EQ(with_threads(3, [&] { return run(1 << 20); }), wanted);
}

TEST_P(EveryMethodOfOutputs, TakesBatchesAndStopsWhenItIsAsked) {
  const Classes c(12);
  RecoverOptions o = options();
  o.batch = 250;
  int steps = 0;
  const Recovery found = recover(GetParam().method, c.problem(), o,
                                 [&](std::int64_t, double, std::int64_t) { return ++steps < 3; });
  EXPECT_EQ(steps, 3);
  EXPECT_LE(found.net.nonzeros(), 30);
}

INSTANTIATE_TEST_SUITE_P(Outputs, EveryMethodOfOutputs,
                         ::testing::Values(How{"iht", "value", 450}, How{"aiht", "value", 800},
                                           How{"htp", "value", 800}, How{"iht", "sketch", 450},
                                           How{"aiht", "sketch", 700}, How{"strong", "value", 880},
                                           How{"imp", "value", 700}),
                         [](const auto& info) { return info.param.method + "_" + info.param.select; });

TEST(Sketch, ChoosesByAllUpdatesThatWere) {
  const Classes c(60);
  const auto places = [&](const char* select, bool published) {
    const Recovery found =
        recover("iht", c.problem(),
                {.hidden_width = 8, .nnz = 40, .steps = 5, .published = published, .select = select});
    return std::vector<std::int64_t>(found.net.weights.places().begin(), found.net.weights.places().end());
  };
  EXPECT_NE(places("sketch", false), places("value", false));
  EXPECT_EQ(places("auto", false), places("value", false));
  EXPECT_EQ(places("auto", true), places("sketch", true));
}

TEST(Outputs, RefuseWhatOneOutputAloneCanHave) {
  const Classes c(12);
  const Planted p(100, 5, 2, 3, 1);
  const auto refusal = [](const std::string& method, const RecoverProblem& problem,
                          const RecoverOptions& options) {
    try {
      (void)recover(method, problem, options);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_THAT(refusal("aiht", c.problem(), {.gates = "fixed"}),
              HasSubstr("recover.gates, found 'fixed', expected"));
  EXPECT_THAT(refusal("aiht", p.problem(), {.select = "sketch"}),
              HasSubstr("recover.select, found 'sketch' with 1 outputs"));
  for (const char* method : {"strong", "imp"}) {
    EXPECT_THAT(refusal(method, c.problem(), {.select = "sketch"}),
                HasSubstr("recover.select, found 'sketch' with 3 outputs"));
    EXPECT_THAT(refusal(method, c.problem(), {.gates = "fixed"}),
                HasSubstr("recover.gates, found 'fixed', expected"));
  }
}

}  // namespace
}  // namespace tulle::testing
